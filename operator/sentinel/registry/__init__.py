"""OCI registries: a client that looks images up and pushes them, and who may push where."""

from __future__ import annotations

from sentinel.registry.client import RegistryClient
from sentinel.registry.pushing import Pushing, allowed_places, may_push
from sentinel.registry.transport import Patience

__all__ = ["Patience", "Pushing", "RegistryClient", "allowed_places", "may_push"]
