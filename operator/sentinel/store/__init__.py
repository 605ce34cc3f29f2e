"""The object store: presigned URLs, and the few bytes we read ourselves.

Logs and artifacts go from the box to the store directly; where they lie there is `plan.keys`.
"""

from __future__ import annotations
