"""The spool: no more is reserved than there is, and a namespace does not take all of it."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from sentinel.agent.failures import CommitFailure
from sentinel.agent.spool import Spool
from sentinel.api.reasons import CommitReason


async def take(spool: Spool, size: int, owner: str, done: asyncio.Event) -> None:
    async with spool.reserved(size, owner=owner):
        await done.wait()


def folders(spool: Path) -> int:
    return len(list(spool.iterdir()))


async def waits(task: asyncio.Task[None]) -> bool:
    await asyncio.sleep(0)
    return not task.done()


async def test_what_can_never_fit_is_refused_before_anything_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(CommitFailure, match="takes up to 1024 TiB") as disk:
        async with Spool(tmp_path).reserved(1 << 50, owner="team"):
            raise AssertionError("it was reserved")
    with pytest.raises(CommitFailure, match="which has 1000 bytes") as setting:
        async with Spool(tmp_path, most=1000).reserved(1001, owner="team"):
            raise AssertionError("it was reserved")
    assert disk.value.why is setting.value.why is CommitReason.NO_SPACE


async def test_what_does_not_fit_now_waits_for_others(tmp_path: Path) -> None:
    spool = Spool(tmp_path, most=1000)
    async with spool.reserved(800, owner="a") as first:
        (first.folder / "layer.tar").write_bytes(bytes(700))
        done = asyncio.Event()
        second = asyncio.create_task(take(spool, 300, "b", done))
        assert await waits(second)
        first.shrink(700)
        await asyncio.sleep(0)
        assert folders(tmp_path) == 2
    assert folders(tmp_path) == 1
    done.set()
    await second
    assert folders(tmp_path) == 0


async def test_a_namespace_leaves_half_of_it_to_others(tmp_path: Path) -> None:
    spool = Spool(tmp_path, most=1000)
    async with spool.reserved(400, owner="a"):
        done = asyncio.Event()
        done.set()
        again = asyncio.create_task(take(spool, 200, "a", done))
        assert await waits(again)
        await take(spool, 600, "b", done)
        assert await waits(again)
    await again


async def test_a_commit_that_fails_gives_its_space_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path, most=1000)
    done = asyncio.Event()
    done.set()
    with pytest.raises(ValueError, match="as it happens"):
        async with spool.reserved(1000, owner="a"):
            waiting = asyncio.create_task(take(spool, 1000, "b", done))
            assert await waits(waiting)
            raise ValueError("as it happens")
    async with asyncio.timeout(150):
        await waiting


async def test_a_file_that_a_given_up_thread_makes_late_does_not_hide_why_the_commit_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: str, **_: object) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty", path)

    monkeypatch.setattr(os, "rmdir", busy)
    with pytest.raises(asyncio.CancelledError):
        async with Spool(tmp_path).reserved(1, owner="team"):
            raise asyncio.CancelledError
