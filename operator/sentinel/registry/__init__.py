"""OCI registries: references, credentials, and a client that looks images up and pushes them."""

from __future__ import annotations

from sentinel.registry.client import RegistryClient
from sentinel.registry.credentials import (
    NO_CREDENTIALS,
    Keychain,
    keychain_from_docker_config,
    keychain_from_secrets,
)
from sentinel.registry.images import ImageInfo
from sentinel.registry.pushing import Pushing, allowed_places, may_push
from sentinel.registry.reference import (
    Reference,
    parse_reference,
    parse_repository,
)
from sentinel.registry.transport import Patience

__all__ = [
    "NO_CREDENTIALS",
    "ImageInfo",
    "Keychain",
    "Patience",
    "Pushing",
    "Reference",
    "RegistryClient",
    "allowed_places",
    "keychain_from_docker_config",
    "keychain_from_secrets",
    "may_push",
    "parse_reference",
    "parse_repository",
]
