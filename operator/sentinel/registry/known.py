"""Images that were looked up before, within a budget of bytes.

Content never changes under a digest, but a registry may claim any digest for its names: an entry is found again only
in the repository, and with the login, that it was read with. Not here: reading images (`client.py`).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from sentinel.registry.credentials import Credential
from sentinel.registry.images import ImageInfo
from sentinel.registry.reference import Reference

_BUDGET = 16 * 1024 * 1024
_EACH = 1024
"""Bytes that an entry takes besides what its image configures."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """Which image, as read by whom. `login` is a digest of the credential: no password is kept here."""

    repository: str
    login: str
    digest: str
    platform: tuple[str, str]


class KnownImages:
    """The images used last, up to `budget` bytes in all."""

    def __init__(self, *, budget: int = _BUDGET) -> None:
        self._budget = budget
        self._size = 0
        self._images: OrderedDict[Key, ImageInfo] = OrderedDict()

    def find(self, key: Key) -> ImageInfo | None:
        """The image, if it is known."""
        found = self._images.get(key)
        if found is not None:
            self._images.move_to_end(key)
        return found

    def add(self, key: Key, info: ImageInfo) -> None:
        """Keep an image; the ones that were not used for longest go."""
        old = self._images.pop(key, None)
        self._size += _size(info) - (_size(old) if old is not None else 0)
        self._images[key] = info
        while self._size > self._budget:
            _, gone = self._images.popitem(last=False)
            self._size -= _size(gone)


def key_of(
    reference: Reference,
    *,
    digest: str,
    platform: tuple[str, str],
    credential: Credential | None,
) -> Key:
    """The key of an image at `digest` in the repository of `reference`, read with `credential`."""
    login = ""
    if credential is not None:
        parts = (credential.username, credential.password, credential.identity_token)
        login = hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
    return Key(repository=reference.name, login=login, digest=digest, platform=platform)


def _size(info: ImageInfo) -> int:
    return _EACH + info.configured_bytes
