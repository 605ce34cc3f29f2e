"""The lines of a watch: JSON objects of any length, however the network cuts them.

Lines are split here and not by aiohttp, which refuses those above 128 KiB; a ConfigMap may have a megabyte.
Not here: reconnecting. A watch ends, and the caller begins the next from its resourceVersion.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from sentinel.kube import errors

SERVER_SECONDS = 270
SILENCE_SECONDS = 100.0
"""The server sends a bookmark a minute; without one the connection is dead, whatever TCP believes."""

TYPES = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK"})


async def lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Whole lines without their newline; empty ones are left out. The last may lack its newline."""
    pieces: list[bytes] = []
    async for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            line = b"".join([*pieces, end])
            pieces.clear()
            if line:
                yield line
        if rest:
            pieces.append(rest)
    if pieces:
        yield b"".join(pieces)


def parse(what: str, line: bytes) -> tuple[str, dict[str, Any]]:
    """One event: its type and object. Raises Expired or another ApiError for an ERROR, Unavailable for half a line."""
    try:
        event = json.loads(line)
        kind, body = str(event["type"]), event["object"]
    except (ValueError, TypeError, KeyError) as error:
        raise errors.Unavailable(f"{what}: the watch was cut within a line") from error
    if kind == "ERROR":
        raise errors.from_status(what, int(body.get("code") or 500), body)
    if kind not in TYPES:
        raise errors.Unavailable(f"{what}: a watch event of unknown type {kind!r}")
    return kind, body
