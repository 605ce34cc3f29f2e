"""A cache of 500 MB in 20,000 files: saving it unchanged against the first save, restoring it against `tar x`.

Needs no cluster: boxkit runs as an ordinary process, the store is an HTTP server in this one. Alone:
`python -m tests.bench cache`. `tar x` unpacks the same files from a plain tar and from one that is packed with zstd, as
the cache is; the archive lies in the page cache each time.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sentinel.session.client import Session
from sentinel.session.messages import Cache, Collect, Upload
from tests.boxkit.conftest import ROOT, Box, script
from tests.boxkit.test_cache import Store

FILES, SIZE = 20_000, 25_000
LIMIT = 2 * 1024**3
ROUNDS = 3
AT_MOST = {"cache.unchanged_ratio": 0.1, "cache.restore_peak_mib": 64.0}
AT_LEAST = {"cache.restore_ratio": 0.8}


def measure() -> dict[str, Any]:
    """`cache`: seconds of the first save, an unchanged one, restoring (until the init container is done) and copying to
    where steps write; of both kinds of `tar x`; and the ratios: unchanged to first save, `tar x` of the same archive
    (zstd) to restoring, and of the plain tar. Medians of three, in turn. And the most memory that restoring takes."""
    binary = ROOT / "build" / "boxkit"
    subprocess.run(
        ["go", "build", "-trimpath", "-o", binary, "."],
        cwd=ROOT / "operator" / "boxkit",
        env={**os.environ, "CGO_ENABLED": "0"},
        check=True,
    )
    with tempfile.TemporaryDirectory(prefix="bench", dir=ROOT / "build") as name:
        return {"cache": asyncio.run(_measure(binary, Path(name)))}


async def _measure(binary: Path, root: Path) -> dict[str, Any]:
    store = Store()
    tree = root / "tree"
    await asyncio.to_thread(_grow, tree)
    first, _ = await _build(binary, root / "first", store, fill=tree)
    plain, packed = root / "plain.tar", root / "packed.tar.zst"
    _run("tar", "cf", plain, "-C", tree, ".")
    _run("zstd", "-q", "-1", "-f", plain, "-o", packed)
    restores: list[float] = []
    tars: list[float] = []
    zstds: list[float] = []
    copies, unchanged = [], []
    for at in range(ROUNDS):
        here = root / f"round{at}"
        here.mkdir()
        works: list[tuple[list[float], Callable[[], float]]] = [
            (restores, partial(_restore, binary, here, store)),
            (tars, partial(_tar, here / "plain", "xf", plain)),
            (zstds, partial(_tar, here / "packed", "--zstd", "-xf", packed)),
        ]
        # Each of them is first once, and none writes what another one has left to be written.
        for figures, work in (*works[at:], *works[:at]):
            os.sync()
            figures.append(work())
        saved, copied = await _build(binary, here, store, restored=True)
        unchanged.append(saved)
        copies.append(copied)
        await asyncio.to_thread(shutil.rmtree, here)
    (root / "peak").mkdir()
    peak = _peak(binary, root / "peak", store)
    store.shutdown()
    store.server_close()
    puts = store.puts
    assert puts == 1, f"{puts} saves: an unchanged cache was sent"
    middle = statistics.median
    return {
        "first_save_s": round(first, 2),
        "unchanged_save_s": round(middle(unchanged), 3),
        "restore_s": round(middle(restores), 2),
        "copy_s": round(middle(copies), 2),
        "restore_peak_mib": round(peak, 1),
        "tar_s": round(middle(tars), 2),
        "tar_zstd_s": round(middle(zstds), 2),
        "archive_mb": round(len(store.object or b"") / 1e6, 1),
        "unchanged_ratio": round(middle(unchanged) / first, 4),
        "restore_ratio": round(middle(zstds) / middle(restores), 3),
        "restore_ratio_plain": round(middle(tars) / middle(restores), 3),
    }


def _grow(tree: Path) -> None:
    """Text-like files: a third of their size when packed."""
    random.seed(1)
    words = [os.urandom(6).hex() for _ in range(4000)]
    text = " ".join(random.choices(words, k=400_000))
    for at in range(FILES):
        folder = tree / f"d{at % 400:03}"
        folder.mkdir(parents=True, exist_ok=True)
        begin = random.randrange(len(text) - SIZE)
        (folder / f"f{at}").write_text(text[begin : begin + SIZE])


def _run(*argv: str | Path) -> None:
    subprocess.run([str(each) for each in argv], check=True)


def _tar(into: Path, *argv: str | Path) -> float:
    into.mkdir()
    began = time.monotonic()
    _run("tar", *argv, "-C", into)
    return time.monotonic() - began


def _task(here: Path, store: Store) -> bytes:
    """What `boxkit restore` reads, with the directories that it needs."""
    (here / "kit").mkdir()
    (here / "mnt").mkdir()
    (here / "url").write_text(store.url)
    task = {
        "urlFile": str(here / "url"),
        "dest": str(here / "mnt/cache"),
        "state": str(here / "kit"),
        "bytes": LIMIT,
        "entries": 300_000,
        "seconds": 300,
    }
    return json.dumps(task).encode()


def _restore(binary: Path, here: Path, store: Store) -> float:
    task = _task(here, store)
    began = time.monotonic()
    subprocess.run([binary, "restore"], input=task, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def _peak(binary: Path, here: Path, store: Store) -> float:
    """The most memory of a restore in MiB. getrusage would count what this process had when it forked."""
    task = _task(here, store)
    most = 0.0
    with subprocess.Popen(
        [binary, "restore"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        process.stdin.write(task)
        process.stdin.close()
        while process.poll() is None:
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    most = max(most, int(line.split()[1]) / 1024)
            time.sleep(0.005)
    return most


async def _build(
    binary: Path, root: Path, store: Store, *, fill: Path | None = None, restored: bool = False
) -> tuple[float, float]:
    """Seconds from `close` to the end of the session, and of copying the cache."""
    await asyncio.to_thread(root.mkdir, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        str(binary),
        "init",
        env={
            "PATH": os.environ["PATH"],
            "SENTINEL_SESSION_DIR": str(root / "session"),
            "SENTINEL_KIT_DIR": str(root / "kit"),
            "SENTINEL_CGROUP_DIR": str(root / "cgroup"),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    box = Box(process=process, root=root)
    target = box.pipeline / "cache"
    cache = Cache(source=str(root / "mnt/cache"), target=str(target), entries=300_000)
    async with box.session() as session:
        began = time.monotonic()
        await session.open(
            box.open(
                dirs=[str(box.pipeline / "source"), str(target)], cache=cache if restored else None
            )
        )
        copied = time.monotonic() - began
        code = f"cp -a {fill}/. {target}/" if fill is not None else "true"
        await session.start([script(1, code)])
        await session.wait_for(lambda state: state.done([1]))
        signing = asyncio.create_task(_sign(session, store))
        began = time.monotonic()
        await session.collect(
            Collect(
                what="cache",
                path=str(target),
                cache=True,
                limit=LIMIT,
                entries=300_000,
                seconds=300.0,
            )
        )
        await session.close()
        seconds = time.monotonic() - began
        signing.cancel()
    await process.wait()
    return seconds, copied


async def _sign(session: Session, store: Store) -> None:
    state = await session.wait_for(lambda state: "cache" in state.packed)
    headers = {"x-amz-meta-sha256": state.packed["cache"].sha256}
    await session.upload("cache", Upload(url=store.url, headers=headers))
