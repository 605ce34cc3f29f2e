"""Servers for the tests of steps: ours, and one that answers as the test wants."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import ssl
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from sentinel.settings import StepSettings
from sentinel.steps import StepSource, step_source

LAB = Path(__file__).parents[2] / "steps"


@dataclass
class Reply:
    """An answer. With `times` it is given that often, and then the next one of its path."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1_000_000
    cut: bool = False
    """End the connection in the middle of the body."""


@dataclass
class Scripted:
    """What is answered at which path, and what was asked: (path, Authorization header or "")."""

    url: str = ""
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def add(self, path: str, *replies: Reply) -> None:
        self.replies.setdefault(path, []).extend(replies)

    def json(self, path: str, data: Any) -> None:
        self.add(path, Reply(body=json.dumps(data).encode()))

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


@asynccontextmanager
async def scripted(tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """A server on loopback that answers 404 to what it does not know."""
    script = Scripted()

    async def handle(request: web.Request) -> web.StreamResponse:
        script.requests.append((request.path_qs, request.headers.get("Authorization", "")))
        replies = script.replies.get(request.path, [])
        reply = next((each for each in replies if each.times > 0), Reply(status=404))
        reply.times -= 1
        if not reply.cut:
            return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
        answer = web.StreamResponse(
            status=reply.status, headers={"Content-Length": str(len(reply.body))}
        )
        await answer.prepare(request)
        await answer.write(reply.body[: len(reply.body) // 2])
        assert request.transport is not None
        request.transport.close()
        return answer

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        host = "https://localhost" if tls else "http://127.0.0.1"
        script.url = f"{host}:{runner.addresses[0][1]}"
        yield script
    finally:
        await runner.cleanup()


def tarball(
    files: Mapping[str, str],
    *,
    top: str = "",
    pax: str = "",
    modes: Mapping[str, int] | None = None,
) -> bytes:
    """A tar.gz; `top` is a leading directory, `pax` a commit for the global header that git writes."""
    out = io.BytesIO()
    headers = {"comment": pax} if pax else None
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers
    ) as archive:
        if top:
            header = tarfile.TarInfo(top)
            header.type, header.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(header)
        for name, text in files.items():
            header = tarfile.TarInfo(f"{top}/{name}" if top else name)
            header.size, header.mode = len(text.encode()), (modes or {}).get(name, 0o644)
            archive.addfile(header, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def source(registry: str, cache: Path, *, ca: str = "", **settings: Any) -> StepSource:
    """A source as the operator makes it, that does not wait long between tries."""
    chosen = StepSettings(registry=registry, **settings)
    return step_source(chosen, cache_dir=cache, ca=ca, pause=0.001)


def entries(archive: Path) -> dict[str, tuple[int, bytes | str | None]]:
    """Name → mode and content (a link's target, None for a directory)."""
    found: dict[str, tuple[int, bytes | str | None]] = {}
    with tarfile.open(archive) as opened:
        for each in opened:
            file = opened.extractfile(each) if each.isreg() else None
            content = file.read() if file else (each.linkname or None)
            found[each.name] = (each.mode, content)
    return found
