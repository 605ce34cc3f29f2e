"""The API server: requests on plain dicts, watches, exec streams, events, the Lease.

Knows nothing of builds. `kubernetes.aio` gives configuration and credentials; the transport is ours, on aiohttp.
"""

from __future__ import annotations
