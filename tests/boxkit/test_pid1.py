"""boxkit as what it is in a pod: PID 1 of a PID namespace of its own, with its paths in their places, and not root."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from sentinel.session.client import RequestRefused
from sentinel.session.messages import Limits

from .conftest import Box, Start, script

NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@pytest.fixture
async def box(start: Start) -> Box:
    """A boxkit that is PID 1. Needs root, as the lab does."""
    return await start(argv=NAMESPACE)


async def test_it_runs_steps_and_ends_with_0(box: Box) -> None:
    state = await box.run("echo $PPID", "exit 3")
    assert [step.exit for step in state.steps.values()] == [0, 3]
    assert box.log(1) == b"1\n"
    assert await box.process.wait() == 0


async def test_a_step_that_kills_everything_ends_itself_only(box: Box) -> None:
    state = await box.run("kill -9 -1; sleep 5", script(2, "echo after", phase="after"))
    assert (state.steps[1].exit, state.steps[1].reason) == (137, "ExitCode")
    assert box.log(2) == b"after\n"


async def test_what_ignores_term_is_killed_at_once_and_whole(box: Box) -> None:
    bomb = "trap '' TERM; f() { sleep 0.05; f & f; }; f & sleep 60"
    state = await box.run(
        script(1, bomb, command_timeout=0.4),
        script(2, "ps -e -o comm= | grep -c sleep", phase="after"),
        limits=Limits(grace=0.3),
    )
    assert state.steps[1].reason == "CommandTimeout"
    assert state.steps[1].usage.seconds < 5
    assert box.log(2) == b"0\n"


async def test_orphans_are_reaped(box: Box) -> None:
    state = await box.run(
        "for i in 1 2 3; do setsid true & done; (sleep 0.1 &); sleep 0.3; ps -e -o stat="
    )
    assert state.steps[1].reason == "Passed"
    assert b"Z" not in box.log(1)


async def test_an_attach_that_is_killed_with_a_step_is_only_a_cut(box: Box, boxkit: Path) -> None:
    async with box.session() as session:
        await session.open(box.open())
        await session.start(
            [script(1, "kill -9 $(pgrep -f 'boxkit attach') ; echo killed"), script(2, "true")]
        )
        state = await session.wait_for(lambda state: state.done([1, 2]))
        await session.close()
    assert state.steps[2].reason == "Passed"


async def test_a_user_who_may_not_make_pipeline_is_told_so(start: Start, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    for parent in [tmp_path, *tmp_path.parents][:4]:
        if parent.stat().st_uid == os.getuid() and parent != Path("/tmp"):
            parent.chmod(0o755)
    box = await start(
        argv=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
        env={"SENTINEL_SESSION_DIR": str(home / "session")},
    )

    async def connect() -> object:
        return await Box(process=box.process, root=home).connect()

    async with box.session(connect) as session:
        with pytest.raises(
            RequestRefused, match="PrepareFailed: cannot make /pipeline-of-nobody as user 65534"
        ):
            await session.open(box.open(dirs=["/pipeline-of-nobody"]))
        await session.open(
            box.open(
                dirs=[str(home / "source")],
                source_dir=str(home / "source"),
                pipeline_dir=str(home),
                report_dir=str(home / "report"),
            )
        )
        await session.start([script(1, "id -u")])
        await session.wait_for(lambda state: state.done([1]))
    assert (home / "session" / "log" / "1").read_bytes() == b"65534\n"


def test_install_puts_the_binary_and_certificates_in_place(boxkit: Path, tmp_path: Path) -> None:
    subprocess.run([boxkit, "install", tmp_path / "kit"], check=True)
    assert (tmp_path / "kit" / "boxkit").read_bytes() == boxkit.read_bytes()
    assert (tmp_path / "kit" / "boxkit").stat().st_mode & 0o777 == 0o755
    assert {path.name for path in (tmp_path / "kit").iterdir()} <= {"boxkit", "ca.pem"}


def test_env_is_nul_separated(boxkit: Path) -> None:
    out = subprocess.run(
        [boxkit, "env"], env={"A": "1\n2", "B": ""}, check=True, stdout=subprocess.PIPE
    ).stdout
    assert sorted(out.split(b"\0")) == [b"", b"A=1\n2", b"B="]


async def test_attach_says_what_is_missing(boxkit: Path, tmp_path: Path) -> None:
    out = subprocess.run([boxkit, "nonsense"], check=False, stderr=subprocess.PIPE)
    assert (out.returncode, out.stderr.split(b":")[0]) == (2, b"usage")
    process = await asyncio.create_subprocess_exec(
        boxkit,
        "init",
        "extra",
        env={"SENTINEL_SESSION_DIR": "/proc/nowhere"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, text = await process.communicate()
    assert process.returncode == 1 and b"making the session's directory" in text
