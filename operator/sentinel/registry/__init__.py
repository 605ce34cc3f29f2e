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
from sentinel.registry.reference import (
    Reference,
    is_allowed_repository,
    parse_reference,
    parse_repository,
)
from sentinel.registry.transport import Patience

__all__ = [
    "NO_CREDENTIALS",
    "ImageInfo",
    "Keychain",
    "Patience",
    "Reference",
    "RegistryClient",
    "is_allowed_repository",
    "keychain_from_docker_config",
    "keychain_from_secrets",
    "parse_reference",
    "parse_repository",
]
