"""What a session speaks over, and the error of a request that was refused over it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from sentinel.errors import InternalError


class ByteStream(Protocol):
    """One connection to `boxkit attach`: bytes both ways."""

    async def read(self) -> bytes:
        """The next bytes; b"" when the stream was cut or ended. May raise OSError or TransientError instead."""

    async def write(self, data: bytes) -> None:
        """Send all of `data`."""

    async def close(self) -> None:
        """Drop the connection, without waiting for the other side."""


Connect: TypeAlias = Callable[[], Awaitable[ByteStream]]


class Cut(Exception):
    """This connection is worthless; the session is not."""


class RequestRefused(InternalError):
    """boxkit refused a request; its state is unchanged. `code` is a word of operator/boxkit/README.md."""

    def __init__(self, code: str, text: str) -> None:
        code, text = code[:64], text[:4096].encode("utf-8", "replace").decode()
        super().__init__(f"boxkit refused: {code}: {text}")
        self.code = code
        self.text = text
