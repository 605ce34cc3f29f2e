"""The object store: keys and presigned URLs. Bytes of logs and artifacts go from the box to the store directly."""

from __future__ import annotations
