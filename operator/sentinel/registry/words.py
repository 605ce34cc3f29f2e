"""What an HTTP answer says: its body within bounds, and the registry's own words in it.

Not here: sending, and what a status means.
"""

from __future__ import annotations

import json

import aiohttp

TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may well succeed."""

_WORDS = 300


class TooLong(Exception):
    """A body is longer than anybody would need."""


async def read_bounded(response: aiohttp.ClientResponse, *, limit: int) -> bytes:
    """The whole body, `limit` bytes at most. Raises TooLong, and aiohttp's errors when it breaks."""
    body = bytearray()
    async for part in response.content.iter_chunked(256 * 1024):
        body += part
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
    said = [
        f"{error.get('code', '')}: {error.get('message', '')}".strip(": ")
        for error in errors
        if isinstance(error, dict)
    ]
    return "; ".join(filter(None, said))[:_WORDS]


def json_object(body: bytes) -> dict[str, object]:
    """A body's JSON object, or {} for anything else."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
