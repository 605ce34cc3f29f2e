"""A cache from one box to the next: restored by the real `boxkit restore`, kept by the real boxkit, over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sentinel.errors import SentinelError
from sentinel.session.client import Session
from sentinel.session.journal import SessionState
from sentinel.session.messages import Cache, Collect, Upload
from sentinel.session.records import CacheSeen, Collected, CollectFailed
from tests.boxkit.conftest import Box, Start, script

MIB = 1024 * 1024


class Store(ThreadingHTTPServer):
    """One object, which a PUT replaces."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.object: bytes | None = None
        self.digest = ""
        self.puts = 0
        self.refuse = 0
        self.url = f"http://127.0.0.1:{self.server_port}/cache.tar.zst"
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()


class Handler(BaseHTTPRequestHandler):
    server: Store

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.puts += 1
        if not self.server.refuse:
            self.server.object, self.server.digest = body, self.headers["x-amz-meta-sha256"]
        self._answer(self.server.refuse or 200)

    def do_GET(self) -> None:
        if self.server.object is None:
            self._answer(404)
        else:
            self._answer(200, self.server.object)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amz-meta-sha256", self.server.digest)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def store() -> Iterator[Store]:
    server = Store()
    yield server
    server.shutdown()
    server.server_close()


@dataclass
class Build:
    """What one build did with its cache."""

    box: Box
    state: SessionState
    restored: CacheSeen | None
    saved: Collected | CollectFailed | None

    @property
    def cache(self) -> Path:
        return self.box.pipeline / "cache"

    @property
    def console(self) -> str:
        return (self.box.root / "stdout").read_text()


@dataclass
class Builds:
    """Runs builds, each in a pod of its own: `restore` as the init container does, then a box."""

    boxkit: Path
    start: Start
    tmp_path: Path
    store: Store
    count: int = field(default=0)

    async def run(self, code: str, *, restore: bool = True, **more: Any) -> Build:
        self.count += 1
        root = self.tmp_path / f"build{self.count}"
        kit, mounted = root / "kit", root / "mnt/cache"
        kit.mkdir(parents=True)
        mounted.parent.mkdir()
        if restore:
            await self._restore(root, kit, mounted)
        box = await self.start(env={"SENTINEL_KIT_DIR": str(kit)}, root=root)
        target = box.pipeline / "cache"
        source = str(mounted) if restore else ""
        cache = Cache(source=source, target=str(target), entries=1000)
        async with box.session() as session:
            await session.open(
                box.open(
                    dirs=[str(box.pipeline / "source"), str(target)],
                    cache=cache,
                    env=[("WERCKER_CACHE_DIR", str(target))],
                )
            )
            await session.start([script(1, code)])
            state = await session.wait_for(lambda state: state.done([1]))
            assert state.steps[1].passed, box.log(1).decode()
            signing = asyncio.create_task(self._sign(session))
            collect = {"limit": 64 * MIB, "entries": 1000, "seconds": 60.0, **more}
            await session.collect(Collect(what="cache", path=str(target), cache=True, **collect))
            state = await session.close()
            signing.cancel()
            with suppress(asyncio.CancelledError):
                await signing
        restored = [each for each in box.heard if isinstance(each, CacheSeen)]
        return Build(box, state, *restored[:1] or [None], state.collected.get("cache"))

    async def _restore(self, root: Path, kit: Path, mounted: Path) -> None:
        url = root / "url"
        url.write_text(self.store.url)
        task = {
            "urlFile": str(url),
            "dest": str(mounted),
            "state": str(kit),
            "bytes": 64 * MIB,
            "entries": 1000,
            "seconds": 30,
        }
        process = await asyncio.create_subprocess_exec(
            self.boxkit, "restore", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        await process.communicate(json.dumps(task).encode())
        assert process.returncode == 0

    async def _sign(self, session: Session) -> None:
        """A URL when it is packed, and another one for each that is refused."""
        seq = 0
        with suppress(SentinelError):
            while True:
                state = await session.wait_for(partial(_due, after=seq))
                seq = state.seq
                headers = {"x-amz-meta-sha256": state.packed["cache"].sha256}
                await session.upload("cache", Upload(url=self.store.url, headers=headers))


def _due(state: SessionState, *, after: int) -> bool:
    """Whether the cache waits for a URL, and has done so only since record `after`."""
    packed, known = state.packed.get("cache"), state.uploads.get("cache")
    if packed is None or "cache" in state.collected:
        return False
    return packed.seq > after if known is None else state.seq > after


@pytest.fixture
def builds(boxkit: Path, start: Start, tmp_path: Path, store: Store) -> Builds:
    return Builds(boxkit, start, tmp_path, store)


FILL = """
cd "$WERCKER_CACHE_DIR" && mkdir -p deep/er && echo one >one && echo two >deep/er/two && chmod 600 one
ln -s one link && ln one hard && mkfifo pipe && touch -d 2001-02-03 deep/er/two
"""


async def test_what_one_build_leaves_the_next_one_finds(builds: Builds, store: Store) -> None:
    first = await builds.run(FILL)
    assert first.restored is not None
    assert first.restored.state == "Miss"
    assert isinstance(first.saved, Collected)
    assert (first.saved.files, first.saved.size) == (4, 8)
    assert first.saved.notice == "1 FIFO left out"
    assert store.object is not None
    assert hashlib.sha256(store.object).hexdigest() == first.saved.sha256 == store.digest

    second = await builds.run(
        'cd "$WERCKER_CACHE_DIR"; cat one deep/er/two link; stat -c "%a %h %Y" one; stat -c "%Y" deep/er/two\n'
        "echo three >three"
    )
    assert second.restored is not None
    assert (second.restored.state, second.restored.files, second.restored.size) == ("Hit", 4, 8)
    made = int((first.cache / "one").stat().st_mtime)
    old = int((first.cache / "deep/er/two").stat().st_mtime)
    log = second.box.log(1).decode()
    assert log == f"one\ntwo\none\n600 2 {made}\n{old}\n"
    assert isinstance(second.saved, Collected)
    assert (second.saved.unchanged, second.saved.files, store.puts) == (False, 5, 2)

    # What did not change is not sent, though it was read, linked to and rewritten as it was.
    third = await builds.run(
        'cd "$WERCKER_CACHE_DIR"; grep -r . . >/dev/null; ln three ../three; cp -p three x; cp -p x three; rm x'
    )
    assert isinstance(third.saved, Collected)
    assert (third.saved.unchanged, store.puts) == (True, 2)


async def test_the_same_size_and_times_do_not_hide_other_bytes(
    builds: Builds, store: Store
) -> None:
    await builds.run('echo before >"$WERCKER_CACHE_DIR/file"')
    second = await builds.run(
        'cd "$WERCKER_CACHE_DIR"; touch -r file ../stamp; echo behind >file; touch -r ../stamp file'
    )
    assert isinstance(second.saved, Collected)
    assert not second.saved.unchanged
    assert store.puts == 2
    third = await builds.run('cat "$WERCKER_CACHE_DIR/file"')
    assert third.box.log(1) == b"behind\n"


@pytest.mark.parametrize(
    ("broken", "why"),
    [(b"<html>502</html>", "magic"), (None, "sha256"), (b"", "empty")],
    ids=["another file", "other bytes", "nothing"],
)
async def test_a_broken_cache_starts_empty_and_is_replaced(
    builds: Builds, store: Store, broken: bytes | None, why: str
) -> None:
    await builds.run('echo before >"$WERCKER_CACHE_DIR/file"')
    assert store.object is not None
    if broken is None:
        store.digest = "0" * 64
    else:
        store.object = broken
    second = await builds.run('ls "$WERCKER_CACHE_DIR"; echo fresh >"$WERCKER_CACHE_DIR/file"')
    assert second.restored is not None
    assert second.restored.state == "Invalid"
    assert why in second.restored.text
    log = second.box.log(1).decode()
    assert log.startswith("cache starts empty (Invalid): ")
    assert log.count("\n") == 1
    third = await builds.run('cat "$WERCKER_CACHE_DIR/file"')
    assert third.box.log(1) == b"fresh\n"


async def test_one_that_is_too_large_is_not_saved(builds: Builds, store: Store) -> None:
    fill = 'head -c 3000000 /dev/zero >"$WERCKER_CACHE_DIR/zeros"'
    large = await builds.run(fill, limit=2 * MIB)
    assert isinstance(large.saved, CollectFailed)
    assert (large.saved.reason, large.saved.text) == (
        "TooLarge",
        "its files have 3 MiB, more than 2 MiB",
    )
    assert "--- sentinel: cache: not saved: its files have 3 MiB" in large.console
    many = await builds.run('cd "$WERCKER_CACHE_DIR"; touch a b c d', entries=3)
    assert isinstance(many.saved, CollectFailed)
    assert many.saved.text == "it holds more than 3 files and directories"
    assert store.puts == 0


async def test_an_empty_one_leaves_the_last_one_as_it_was(builds: Builds, store: Store) -> None:
    await builds.run('echo one >"$WERCKER_CACHE_DIR/file"')
    second = await builds.run('rm -r "$WERCKER_CACHE_DIR"')
    assert isinstance(second.saved, Collected)
    assert second.saved.empty
    assert store.puts == 1


async def test_a_refused_save_ends_the_box_all_the_same(builds: Builds, store: Store) -> None:
    store.refuse = 403
    build = await builds.run('echo one >"$WERCKER_CACHE_DIR/file"')
    assert isinstance(build.saved, CollectFailed)
    assert build.saved.reason == "Refused"
    assert build.state.closed is not None
    assert await build.box.process.wait() == 0


async def test_nothing_of_the_steps_writes_while_it_is_packed(builds: Builds, store: Store) -> None:
    """A background process of a step is stopped first: it cannot tear what is kept."""
    build = await builds.run(
        'cd "$WERCKER_CACHE_DIR"; (while :; do date >>log; done) >/dev/null 2>&1 &\n'
        'until [ -s "$WERCKER_CACHE_DIR/log" ]; do sleep 0.02; done'
    )
    assert isinstance(build.saved, Collected)
    assert build.saved.files == 1


async def test_without_one_it_starts_empty_whatever_the_image_has(
    builds: Builds, tmp_path: Path
) -> None:
    image = tmp_path / "build1/pipeline/cache"
    image.mkdir(parents=True)
    (image / "of the build that made the image").touch()
    build = await builds.run("true", restore=False)
    assert build.restored is None
    assert isinstance(build.saved, Collected)
    assert build.saved.empty


def open_to_all(root: Path) -> None:
    """Another user reaches the directories of a test."""
    for path in (root, *root.parents):
        if path.stat().st_mode & 0o055 != 0o055:
            path.chmod(path.stat().st_mode | 0o055)


async def test_a_box_of_another_user_finds_files_that_only_their_owner_may_read(
    boxkit: Path, start: Start, tmp_path: Path, store: Store
) -> None:
    """The init container has a user of its own: its copy can be read by everybody, and the box's has the true modes."""
    assert os.geteuid() == 0, "only root can start a box of another user"
    builds = Builds(boxkit, start, tmp_path, store)
    await builds.run('umask 077; cd "$WERCKER_CACHE_DIR"; mkdir d; echo secret >d/file')
    root = tmp_path / "other"
    kit, mounted = root / "kit", root / "mnt/cache"
    kit.mkdir(parents=True)
    mounted.parent.mkdir()
    await builds._restore(root, kit, mounted)
    open_to_all(root)
    os.chown(root, 1000, 1000)
    binary = root / "boxkit"
    shutil.copy(boxkit, binary)
    argv = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
    box = await start(env={"SENTINEL_KIT_DIR": str(kit)}, argv=argv, root=root, binary=binary)
    target = box.pipeline / "cache"
    cache = Cache(source=str(mounted), target=str(target), entries=1000)
    state = await box.run(
        f"stat -c %a {target}/d {target}/d/file; cat {target}/d/file", cache=cache
    )
    assert state.steps[1].passed
    assert box.log(1) == b"700\n600\nsecret\n"
