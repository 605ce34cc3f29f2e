"""OCI registries: references, credentials, and a client that looks images up and pushes them."""

from __future__ import annotations
