"""Large bodies as a stream: what a subresource serves, whole or a range of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from sentinel.kube.transport import Request, Transport, selection

SILENCE = 60.0
"""Seconds without a byte after which a download has failed."""


async def download(
    transport: Transport,
    path: str,
    what: str,
    *,
    query: Mapping[str, str] | None,
    span: tuple[int, int | None],
) -> AsyncGenerator[bytes, None]:
    """The bytes of `span` (from, to) as they come. No retries.

    Raises ApiError with the status 416 where the object ends at or before `from`; Unavailable when the connection
    breaks, too: what came so far is not all.
    """
    start, end = span
    whole = (start, end) == (0, None)
    request = Request(
        "GET",
        path,
        what,
        selection(more=query),
        headers=() if whole else [("Range", f"bytes={start}-{'' if end is None else end - 1}")],
    )
    async with transport.stream(request, silence=SILENCE, accept="*/*") as content:
        async for chunk in content.iter_any():
            yield chunk
