"""HTTP answers of registries: their body within bounds, and the errors in it.

Not here: sending, and what a status means.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import aiohttp

from sentinel.text import printable

TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may well succeed."""

_WORDS = 300
_ERRORS = 8


class TooLong(Exception):
    """A body is longer than any that is needed."""


async def read_bounded(
    response: aiohttp.ClientResponse, *, limit: int, moved: Callable[[int], None] | None = None
) -> bytes:
    """The whole body, `limit` bytes at most; `moved` is called with the size of each part.

    Raises TooLong, and aiohttp's errors when it breaks.
    """
    body = bytearray()
    async for part in response.content.iter_chunked(256 * 1024):
        body += part
        if moved is not None:
            moved(len(part))
        if len(body) > limit:
            raise TooLong
    return bytes(body)


def registry_words(body: bytes) -> str:
    """The codes and messages of an error body as the distribution spec has it, at most 300 characters; or ''.

    Nothing but these fields is quoted: any other body may be a page from a host we were lured to.
    """
    errors = json_object(body).get("errors")
    if not isinstance(errors, list):
        return ""
    found = [
        f"{str(error.get('code', ''))[:_WORDS]}: {str(error.get('message', ''))[:_WORDS]}".strip(
            ": "
        )
        for error in errors[:_ERRORS]
        if isinstance(error, dict)
    ]
    return printable("; ".join(filter(None, found))[:_WORDS])


def json_object(body: bytes) -> dict[str, object]:
    """A body's JSON object, or {} for anything else."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
