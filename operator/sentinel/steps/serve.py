"""A folder of steps behind http, with wercker's API in both generations and an index (wercker.md).

::

    GET /api/steps/<owner>/<name>/<version>      {"step": {"tarballUrl", "sha256", "summary", "version": {"number"}}}
    GET /api/v2/steps/<owner>/<name>/<version>   {"tarballUrl", "sha256", "version", "description"}
    GET /index.json                              [{"owner", "name", "version", "tarballUrl", "sha256", "summary"}]
    GET /tarballs/<owner>/<name>/<version>/<sha256>.tar.gz
    PUT /api/steps/<owner>/<name>/<version>      a tar.gz; only with a publish token, as `Authorization: Bearer`

The folder is looked at again at every request; what did not change is not packed again. No TLS, and reading needs no
password: put it where its steps may be seen, or behind a server that has both.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from sentinel.steps.folder import FolderStep, list_steps, versions_of
from sentinel.steps.pack import Packed, StepLimits, Unpackable, fingerprint, pack
from sentinel.steps.publish import Exists, Invalid, check_new, publish
from sentinel.steps.versions import choose

_PACKED_AT_ONCE = 2
_UPLOADS_AT_ONCE = 2
_UPLOAD_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class _Archive:
    """A packed step as it was when it had this fingerprint."""

    fingerprint: str
    packed: Packed
    path: Path


class StepServer:
    """Serves `folder`. `public_url` is what tarballs are said to be below; "" for what each client called us.

    `complain` hears a sentence for each step that cannot be served, once while it stays as it is. `publish_token`
    permits uploads; "" permits none.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limits: StepLimits | None = None,
        public_url: str = "",
        complain: Callable[[str], None] = lambda _: None,
        publish_token: str = "",
        upload_seconds: float = _UPLOAD_SECONDS,
    ) -> None:
        self._folder = folder
        self._limits = limits or StepLimits()
        self._public_url = public_url.rstrip("/")
        self._complain = complain
        self._complained: set[str] = set()
        self._archives: dict[str, _Archive] = {}
        self._slots = asyncio.Semaphore(_PACKED_AT_ONCE)
        self._publish_token = publish_token
        self._upload_seconds = upload_seconds
        self._uploads = asyncio.Semaphore(_UPLOADS_AT_ONCE)
        self._store: Path | None = None

    @asynccontextmanager
    async def running(self, host: str, port: int) -> AsyncIterator[str]:
        """Listen; the URL. Port 0 is any free one. OSError where the address cannot be had."""
        runner = web.AppRunner(self._app(), access_log=None, handle_signals=False)
        with tempfile.TemporaryDirectory(prefix="sentinel-steps-") as store:
            self._store = Path(store)
            await runner.setup()
            try:
                await web.TCPSite(runner, host, port).start()
                bound = runner.addresses[0]
                yield f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}"
            finally:
                await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/api/steps/{owner}/{name}/{version}", self._step),
                web.put("/api/steps/{owner}/{name}/{version}", self._publish),
                web.get("/api/v2/steps/{owner}/{name}/{version}", self._old_step),
                web.get("/index.json", self._index),
                web.get("/tarballs/{owner}/{name}/{version}/{file}", self._tarball),
            ]
        )
        return app

    async def _step(self, request: web.Request) -> web.Response:
        step, archive = await self._wanted(request)
        return web.json_response(
            {
                "step": {
                    "owner": step.owner,
                    "name": step.name,
                    "summary": step.manifest.summary,
                    "tarballUrl": self._url(request, step, archive),
                    "sha256": archive.packed.digest,
                    "version": {"number": step.version},
                }
            }
        )

    async def _old_step(self, request: web.Request) -> web.Response:
        step, archive = await self._wanted(request)
        return web.json_response(
            {
                "tarballUrl": self._url(request, step, archive),
                "sha256": archive.packed.digest,
                "version": step.version,
                "description": step.manifest.summary,
            }
        )

    async def _index(self, request: web.Request) -> web.Response:
        steps, problems = await asyncio.to_thread(list_steps, self._folder)
        self._say(problems)
        entries: list[dict[str, Any]] = []
        for step in steps:
            archive = await self._archive(step)
            if archive is not None:
                entries.append(
                    {
                        "owner": step.owner,
                        "name": step.name,
                        "version": step.version,
                        "tarballUrl": self._url(request, step, archive),
                        "sha256": archive.packed.digest,
                        "summary": step.manifest.summary,
                    }
                )
        return web.json_response(entries)

    async def _tarball(self, request: web.Request) -> web.StreamResponse:
        step, archive = await self._wanted(request)
        if request.match_info["file"] != f"{archive.packed.digest}.tar.gz":
            raise _missing(f"{step} has changed: look it up again")
        # Said as what it is: with Content-Encoding, some clients would unpack it on the way.
        return web.FileResponse(archive.path, headers={"Content-Type": "application/gzip"})

    async def _publish(self, request: web.Request) -> web.Response:
        owner, name, version = (request.match_info[key] for key in ("owner", "name", "version"))
        self._check_token(request)
        if request.query.get("private") == "true":
            raise _refused(
                web.HTTPBadRequest,
                "this registry has no private steps: everyone who can reach it can read all of them",
            )
        try:
            await asyncio.to_thread(
                check_new, self._folder, owner=owner, name=name, version=version
            )
            async with self._uploads:
                step = await self._received(request, owner=owner, name=name, version=version)
        except Invalid as error:
            raise _refused(web.HTTPUnprocessableEntity, str(error)) from error
        except Exists as error:
            raise _refused(web.HTTPConflict, str(error)) from error
        except OSError as error:
            self._say([f"{owner}/{name}@{version} was not published: {error}"])
            raise _refused(
                web.HTTPInternalServerError, "the step could not be written: see the registry's log"
            ) from error
        archive = await self._archive(step)
        return web.json_response(
            {
                "step": {
                    "owner": step.owner,
                    "name": step.name,
                    "version": {"number": step.version},
                    "sha256": archive.packed.digest if archive else "",
                }
            },
            status=201,
        )

    def _check_token(self, request: web.Request) -> None:
        if not self._publish_token:
            raise _refused(
                web.HTTPForbidden,
                "this registry takes no uploads: start it with --publish-token-file to permit them",
            )
        # Digests have one length, so that comparing them tells nothing of the token's.
        given, expected = (
            hashlib.sha256(text.encode(errors="surrogateescape")).digest()
            for text in (
                request.headers.get("Authorization", ""),
                f"Bearer {self._publish_token}",
            )
        )
        if not hmac.compare_digest(given, expected):
            raise _refused(
                web.HTTPUnauthorized,
                "the publish token is missing or wrong",
                headers={"WWW-Authenticate": "Bearer"},
            )

    async def _received(
        self, request: web.Request, *, owner: str, name: str, version: str
    ) -> FolderStep:
        """The step of the request's body, published. Raises as `publish` does, and HTTPException."""
        most = self._limits.packed
        too_large = f"the archive has more than {most} bytes: leave out what the step does not need"
        if (request.content_length or 0) > most:
            raise _refused(_TooLarge, too_large)
        with tempfile.TemporaryDirectory(dir=self._store) as room:
            archive = Path(room) / "upload.tar.gz"
            size = 0
            try:
                async with asyncio.timeout(self._upload_seconds):
                    with archive.open("xb") as file:
                        async for piece in request.content.iter_chunked(64 * 1024):
                            size += len(piece)
                            if size > most:
                                raise _refused(_TooLarge, too_large)
                            file.write(piece)
            except TimeoutError as error:
                raise _refused(
                    web.HTTPRequestTimeout,
                    f"the upload took more than {self._upload_seconds:.0f} s",
                ) from error
            return await asyncio.to_thread(
                publish,
                archive,
                folder=self._folder,
                owner=owner,
                name=name,
                version=version,
                limits=self._limits,
            )

    async def _wanted(self, request: web.Request) -> tuple[FolderStep, _Archive]:
        """The step that the request names, packed. Raises HTTPNotFound with a sentence."""
        owner, name, version = (request.match_info[key] for key in ("owner", "name", "version"))
        found = {
            step.version: step
            for step in await asyncio.to_thread(versions_of, self._folder, owner, name)
        }
        chosen = choose(version, found)
        if chosen is None:
            there = f"; it has {', '.join(found)}" if found else ""
            raise _missing(f"there is no step {owner}/{name}@{version}{there}")
        archive = await self._archive(found[chosen])
        if archive is None:
            raise _missing(
                f"{owner}/{name}@{chosen} is there, but cannot be packed: see this server's log"
            )
        return found[chosen], archive

    async def _archive(self, step: FolderStep) -> _Archive | None:
        """The step as it is now; None, and a complaint, where it cannot be packed."""
        async with self._slots:
            try:
                return await asyncio.to_thread(self._packed, step)
            except Unpackable as error:
                self._say([f"{step} is not served: it {error}"])
            except OSError as error:
                self._say([f"{step} is not served: {error}"])
        return None

    def _packed(self, step: FolderStep) -> _Archive:
        assert self._store is not None  # noqa: S101 - requests come while it is running
        now = fingerprint(step.root)
        known = self._archives.get(str(step))
        if known is not None and known.fingerprint == now:
            return known
        room = Path(tempfile.mkdtemp(dir=self._store))
        try:
            packed = pack(step.root, room / "step.tar.gz", limits=self._limits)
        except BaseException:
            shutil.rmtree(room)
            raise
        archive = _Archive(fingerprint=now, packed=packed, path=room / "step.tar.gz")
        self._archives[str(step)] = archive
        if known is not None:
            # A request that is reading it has it open.
            shutil.rmtree(known.path.parent, ignore_errors=True)
        return archive

    def _url(self, request: web.Request, step: FolderStep, archive: _Archive) -> str:
        base = self._public_url or f"{request.scheme}://{request.host}"
        place = f"{step.owner}/{step.name}/{step.version}/{archive.packed.digest}.tar.gz"
        return f"{base}/tarballs/{place}"

    def _say(self, problems: list[str]) -> None:
        for problem in problems:
            if problem not in self._complained:
                self._complained.add(problem)
                self._complain(problem)


class _TooLarge(web.HTTPClientError):
    """HTTP 413; aiohttp's own wants sizes and writes its own text."""

    status_code = 413


def _missing(message: str) -> web.HTTPException:
    return _refused(web.HTTPNotFound, message)


def _refused(
    kind: type[web.HTTPException], message: str, *, headers: dict[str, str] | None = None
) -> web.HTTPException:
    return kind(
        text=json.dumps({"message": message}), content_type="application/json", headers=headers
    )
