"""A minimum rate for exchanges with a registry: bytes buy time, and without any there is `grace` seconds.

A timeout per read does not bound a server that sends a byte now and then; a timeout for the whole does not suit both a
manifest and a layer of gigabytes. Not here: what is exchanged (`transport.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class TooSlow(TimeoutError):
    """An exchange moved fewer bytes than the minimum rate asks for."""


class Pace:
    """The deadline of one exchange, in loop time. It moves with the bytes, and is never further than `grace` away.

    `grace` is in seconds, `rate` in bytes a second.
    """

    def __init__(self, *, grace: float, rate: float) -> None:
        self._grace = grace
        self._rate = rate
        self._timeout: asyncio.Timeout | None = None
        self._deadline = asyncio.get_running_loop().time() + grace

    def moved(self, count: int) -> None:
        """Note that `count` bytes were sent or received."""
        now = asyncio.get_running_loop().time()
        self._deadline = min(now + self._grace, self._deadline + count / self._rate)
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(self._deadline)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Ends the block with TooSlow once the deadline has passed. Blocks of one Pace must not overlap."""
        with self._explained():
            async with asyncio.timeout_at(self._deadline) as timeout:
                self._timeout = timeout
                try:
                    yield
                finally:
                    self._timeout = None

    async def parts(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The parts of a body that is received. The time that the consumer takes between them does not count."""
        loop = asyncio.get_running_loop()
        while True:
            async with self.kept():
                part = await anext(body, None)
            if part is None:
                return
            self.moved(len(part))
            left = self._deadline - loop.time()
            yield part
            self._deadline = loop.time() + left

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            if isinstance(error, TooSlow) or asyncio.get_running_loop().time() < self._deadline:
                raise
            raise TooSlow(
                f"it was slower than {self._rate / 1024:g} KiB/s, or silent for {self._grace:g} s"
            ) from error
