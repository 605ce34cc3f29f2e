"""The real boxkit and a real `sentinel store`: logs, output and cache go there and come back, over a broken network."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from sentinel.session.client import Session
from sentinel.session.journal import SessionState
from sentinel.session.messages import Cache, Collect, Upload
from sentinel.session.records import Collected, CollectFailed
from sentinel.store.objects import ObjectStore
from tests.boxkit.conftest import Box, script
from tests.unit.store.conftest import Served, serving

MIB = 1024 * 1024


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Served]:
    """A directory store."""
    (tmp_path / "store").mkdir()
    async with serving(tmp_path / "store") as served:
        yield served


class Relay:
    """Between boxkit and the store. Of each of the first connections the client sees nothing of the answer: `cuts` says
    how many bytes of its request still arrive."""

    def __init__(self, url: str, *cuts: float) -> None:
        self._host, self._port = url.removeprefix("http://").split(":")
        self._cuts = list(cuts)
        self.connections = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Relay while the block runs; the URL."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    async def _relay(self, near: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        self.connections += 1
        far, to = await asyncio.open_connection(self._host, int(self._port))
        cut = self._cuts.pop(0) if self._cuts else None
        with suppress(OSError):
            async with asyncio.TaskGroup() as group:
                there = group.create_task(_copy(near, to, most=cut))
                if cut is None:
                    group.create_task(_copy(far, out))
                elif cut == float("inf"):
                    await far.read(1)  # the answer
                    there.cancel()
                else:
                    await there
        out.transport.abort()
        to.transport.abort()


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: float | None = None
) -> None:
    left = float("inf") if most is None else most
    while left > 0 and (data := await reader.read(int(min(left, 65536)))):
        writer.write(data)
        await writer.drain()
        left -= len(data)
    with suppress(OSError, RuntimeError):
        if writer.can_write_eof() and most is None:
            writer.write_eof()


async def sign(session: Session, store: ObjectStore) -> None:
    """URLs for what is ready, and others for those that were refused, as the operator gives them."""
    answered: dict[str, object] = {}

    def due(state: SessionState) -> dict[str, tuple[int, str, object]]:
        ready: dict[str, tuple[int, str]] = {
            f"log/{n}": (step.log.bytes, step.log.sha256)
            for n, step in state.steps.items()
            if step.log.sha256
        }
        ready |= {what: (each.bytes, each.sha256) for what, each in state.packed.items()}
        known = {what: state.uploads.get(what) for what in ready}
        return {
            what: (*ready[what], refused)
            for what, refused in known.items()
            if what not in answered
            or (refused and refused.state == "refused" and answered[what] is not refused)
        }

    while True:
        state = await session.wait_for(lambda state: bool(due(state)))
        for what, (size, sha256, refused) in due(state).items():
            answered[what] = refused
            url, headers = store.presign_put(
                f"team/{what}", size=size, sha256=sha256, once=what != "cache"
            )
            await session.upload(what, Upload(url=url, headers=headers))


@asynccontextmanager
async def signing(session: Session, store: ObjectStore) -> AsyncIterator[None]:
    """Sign while the block runs."""
    task = asyncio.create_task(sign(session, store))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_logs_output_and_cache_go_there_and_come_back(
    box: Box, boxkit: Path, kept: Served, tmp_path: Path
) -> None:
    """The first upload is cut in the middle, and when it is tried again the answer is lost."""
    output, cache = box.root / "output", box.pipeline / "cache"
    relay = Relay(kept.url, 100_000, float("inf"))
    async with relay.running() as url:
        store = kept.client(url=url)
        async with box.session() as session:
            await session.open(
                box.open(
                    dirs=[str(box.pipeline / "source"), str(cache)],
                    cache=Cache(source="", target=str(cache), entries=1000),
                    store=True,
                )
            )
            async with signing(session, store):
                output.mkdir()
                code = f"head -c 3000000 /dev/urandom >{output}/file; echo cached >{cache}/one; seq 100000"
                await session.start([script(1, code)])
                await session.wait_for(lambda state: "log/1" in state.uploads)
                await session.collect(Collect(what="output", path=str(output)))
                await session.wait_for(lambda state: "output" in state.collected)
                await session.collect(
                    Collect(
                        what="cache",
                        path=str(cache),
                        cache=True,
                        limit=MIB,
                        entries=9,
                        seconds=30.0,
                    )
                )
                state = await session.close()
        store.close()
    assert relay.connections >= 3
    assert state.uploads["log/1"].state == "uploaded"
    assert [type(state.collected[what]) for what in ("output", "cache")] == [Collected, Collected]
    log = await kept.store.get("team/log/1")
    assert log == box.log(1) == "".join(f"{n}\n" for n in range(1, 100_001)).encode()
    with tarfile.open(fileobj=io.BytesIO(await kept.store.get("team/output"))) as archive:
        packed = archive.extractfile("output/file")
        assert packed is not None
        assert packed.read() == (output / "file").read_bytes()

    restored, kit = tmp_path / "restored", tmp_path / "kit"
    kit.mkdir()
    (tmp_path / "url").write_text(kept.store.presign_get("team/cache"))
    task = {
        "urlFile": str(tmp_path / "url"),
        "dest": str(restored),
        "state": str(kit),
        "bytes": MIB,
        "entries": 9,
        "seconds": 30,
    }
    process = await asyncio.create_subprocess_exec(
        boxkit, "restore", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    await process.communicate(json.dumps(task).encode())
    report = json.loads((kit / "cache.json").read_text())
    assert (report["state"], (restored / "one").read_text()) == ("Hit", "cached\n"), report


async def test_a_full_store_is_named_at_once(box: Box, tmp_path: Path) -> None:
    output = box.root / "output"
    output.mkdir()
    (output / "file").write_bytes(bytes(5 * MIB))
    (tmp_path / "store").mkdir()
    async with serving(tmp_path / "store", limit=MIB) as served:
        async with box.session() as session:
            await session.open(box.open(store=True))
            async with signing(session, served.store):
                await session.collect(Collect(what="output", path=str(output)))
                state = await session.wait_for(lambda state: "output" in state.collected)
            await session.close()
        failed = state.collected["output"]
        assert isinstance(failed, CollectFailed)
        assert failed.reason == "Refused"
        assert failed.text.startswith("HTTP 507: the store's disk is full: ")
        assert failed.text.endswith(
            "An administrator has to enlarge the store's volume or remove objects"
        )
        assert await served.store.list("") == []
