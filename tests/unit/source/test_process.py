"""A process of the fetcher's and its bounds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sentinel.source import process
from sentinel.source.failure import Deadline
from sentinel.source.process import ProcessLimits

PLENTY = 1024**3


def run(
    script: str, cwd: Path, *, seconds: float = 30, max_bytes: int = PLENTY
) -> tuple[int, bytes, str]:
    ended = process.run(
        ("sh", "-c", script),
        cwd=str(cwd),
        env={"PATH": "/usr/bin:/bin"},
        deadline=Deadline(seconds),
        root=str(cwd),
        limits=ProcessLimits(disk=max_bytes),
    )
    return ended.code, ended.out, ended.err


def alive(pid: str) -> bool:
    """Whether a process of that id still runs; one that nobody has asked after yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_what_it_says_and_how_it_ends(tmp_path: Path) -> None:
    assert run("echo out; echo err >&2; exit 3", tmp_path) == (3, b"out\n", "err\n")


def test_of_errors_the_end_is_kept(tmp_path: Path) -> None:
    code, out, err = run("head -c 1000000 /dev/zero >&2; echo last >&2", tmp_path)
    assert (code, out, len(err)) == (0, b"", process.MAX_ERRORS)
    assert err.endswith("\0last\n")


@pytest.mark.parametrize(
    ("script", "bounds", "error"),
    [
        ("wait", {"seconds": 0.5}, TimeoutError),
        # One that has closed its mouth is waited for no longer than any other.
        ("exec >&- 2>&-; wait", {"seconds": 0.5}, TimeoutError),
        ("head -c 100000 /dev/zero >big; wait", {"max_bytes": 50_000}, process.TooMuch),
        ("exec cat /dev/zero", {}, process.TooMuch),
    ],
)
def test_past_its_bounds_it_is_ended_with_its_children(
    tmp_path: Path, script: str, bounds: dict[str, int], error: type[Exception]
) -> None:
    written = tmp_path / "pid"
    for more in (1, 4, 16, 64):  # it may be ended before it has begun
        times = {
            name: value * more if name == "seconds" else value for name, value in bounds.items()
        }
        with pytest.raises(error):
            run(f"sleep 3600 & echo $! >pid; {script}", tmp_path, **times)
        if written.exists() and written.read_text():
            break
    pid = written.read_text().strip()
    while alive(pid):
        time.sleep(0.01)  # the kernel ends the group one by one


def test_disk_is_counted_by_blocks_and_not_through_links(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for directory in (inside / "deep", outside):
        directory.mkdir(parents=True)
    (outside / "big").write_bytes(bytes(1024**2))
    (inside / "link").symlink_to(outside)
    for number in range(100):
        (inside / "deep" / str(number)).touch()
    taken = process.disk(str(inside), most=PLENTY)
    assert 102 * 4096 <= taken <= 103 * 4096 + 16384
    assert process.disk(str(inside), most=1) < taken
    assert process.disk(str(tmp_path / "nothing"), most=PLENTY) == 0
