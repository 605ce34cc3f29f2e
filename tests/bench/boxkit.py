"""boxkit's logs: 100 MB of random bytes with 20 masks under 20 cuts, against `tee FILE | sha256sum`.

Needs no cluster: boxkit runs as an ordinary process. Alone: `python -m tests.bench.boxkit`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.boxkit.conftest import ROOT, Box, SocketStream, script

MIB = 1024 * 1024
SIZE = 100 * MIB
CUTS = 20
AT_MOST = {"boxkit_log.peak_mib": 32.0}
AT_LEAST = {"boxkit_log.ratio": 0.5, "boxkit_log.sha256_equal": 1.0}


def measure() -> dict[str, Any]:
    """`boxkit_log`: MiB per second of both (best of three, in turn), their ratio, boxkit's peak memory in MiB, and
    whether the log's sha256 was that of the bytes, in the journal and as a follower heard it under `cuts` cuts."""
    binary = ROOT / "build" / "boxkit"
    binary.parent.mkdir(exist_ok=True)
    subprocess.run(
        ["go", "build", "-trimpath", "-o", binary, "."],
        cwd=ROOT / "operator" / "boxkit",
        env={**os.environ, "CGO_ENABLED": "0"},
        check=True,
    )
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        root = Path(name)
        with (root / "data").open("wb") as file:
            for _ in range(SIZE // MIB):
                file.write(os.urandom(MIB))
        tees, boxes, peaks = [], [], []
        for at in range(3):
            tees.append(_tee(root))
            seconds, peak = asyncio.run(_quiet(binary, root, at))
            boxes.append(seconds)
            peaks.append(peak)
        cuts, equal, peak = asyncio.run(_cut(binary, root))
        peaks.append(peak)
    size = SIZE / MIB
    return {
        "boxkit_log": {
            "tee_mib_s": round(size / min(tees), 1),
            "boxkit_mib_s": round(size / min(boxes), 1),
            "ratio": round(min(tees) / min(boxes), 3),
            "peak_mib": round(max(peaks), 1),
            "cuts": cuts,
            "sha256_equal": equal,
        }
    }


def _tee(root: Path) -> float:
    began = time.monotonic()
    subprocess.run(
        f"cat {root}/data | tee {root}/copy | sha256sum >/dev/null", shell=True, check=True
    )
    seconds = time.monotonic() - began
    (root / "copy").unlink()
    return seconds


async def _start(binary: Path, root: Path) -> Box:
    await asyncio.to_thread(root.mkdir)
    process = await asyncio.create_subprocess_exec(
        str(binary),
        "init",
        env={
            "PATH": os.environ["PATH"],
            "SENTINEL_SESSION_DIR": str(root / "session"),
            "SENTINEL_KIT_DIR": str(binary.parent),
            "SENTINEL_CGROUP_DIR": str(root / "cgroup"),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    return Box(process=process, root=root)


def _masks() -> list[bytes]:
    draw = random.Random(5)
    return [f"secret {n} {draw.randbytes(12).hex()}".encode() for n in range(20)]


async def _quiet(binary: Path, root: Path, at: int) -> tuple[float, float]:
    """Seconds of the step by boxkit's own clock, and its peak memory in MiB, with nobody following."""
    box = await _start(binary, root / f"quiet{at}")
    async with box.session() as session:
        session._on_log = None
        await session.open(box.open(masks=_masks()))
        await session.start([script(1, f"cat {root}/data")])
        state = await session.wait_for(lambda state: state.done([1]))
        peak = await asyncio.to_thread(_peak, box)
        await session.close()
    await box.process.wait()
    step = state.steps[1]
    assert step.log.sha256 == _sha(root / "data")
    (box.session_dir / "log" / "1").unlink(missing_ok=True)
    return step.usage.seconds, peak


async def _cut(binary: Path, root: Path) -> tuple[int, bool, float]:
    """How often the follower was cut, whether it heard the same bytes all the same, and boxkit's peak in MiB."""
    box = await _start(binary, root / "cut")
    marks = sorted(random.Random(6).sample(range(MIB, SIZE - MIB), CUTS))
    digest, heard, cuts = hashlib.sha256(), 0, 0
    whole = asyncio.Event()

    class Cutting(SocketStream):
        async def read(self) -> bytes:
            nonlocal cuts
            if cuts < CUTS and heard >= marks[cuts]:
                cuts += 1
                return b""
            return await super().read()

    async def connect() -> Cutting:
        stream = await box.connect()
        return Cutting(stream._reader, stream._writer)

    def on_log(ordinal: int, offset: int, data: bytes) -> None:
        nonlocal heard
        assert offset == heard
        heard += len(data)
        digest.update(data)
        if heard == SIZE:
            whole.set()

    async with box.session(connect) as session:
        session._on_log = on_log
        await session.open(box.open(masks=_masks()))
        await session.start([script(1, f"cat {root}/data")])
        state = await session.wait_for(lambda state: state.done([1]))
        await whole.wait()
        peak = await asyncio.to_thread(_peak, box)
        await session.close()
    await box.process.wait()
    equal = state.steps[1].log.sha256 == digest.hexdigest() == _sha(root / "data")
    return cuts, equal, peak


def _peak(box: Box) -> float:
    """The most memory that boxkit's process ever held, in MiB."""
    status = Path(f"/proc/{box.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
