"""boxkit as what it is in a pod: PID 1 of a PID namespace of its own, with its paths in their places, and not root."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sentinel.errors import NotYet
from sentinel.session.messages import AttemptLimits, Service
from sentinel.session.stream import RequestRefused

from .conftest import Box, SocketStream, Start, script

NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@pytest.fixture
async def box(start: Start) -> Box:
    """A boxkit that is PID 1. Needs root, as the lab does."""
    return await start(argv=NAMESPACE)


def children_of(pid: int) -> list[str]:
    """Process ids, as the host counts them."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def test_it_runs_steps_and_ends_with_0(box: Box) -> None:
    state = await box.run("echo $PPID", "exit 3")
    assert [step.exit for step in state.steps.values()] == [0, 3]
    assert box.log(1) == b"1\n"
    assert await box.process.wait() == 0


async def test_a_step_that_kills_everything_ends_neither_the_box_nor_the_session(
    box: Box, boxkit: Path
) -> None:
    attaches: list[asyncio.subprocess.Process] = []

    async def attach() -> SocketStream:
        """As by exec: a process in the box's namespace, but not of its tree."""
        children = children_of(box.process.pid)
        if not children:
            raise NotYet("no container yet")
        process = await asyncio.create_subprocess_exec(
            *("nsenter", "--pid", "--mount", "--target", children[0], boxkit, "attach"),
            env={"SENTINEL_SESSION_DIR": str(box.session_dir), "PATH": "/usr/bin:/bin"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        attaches.append(process)
        assert process.stdin is not None and process.stdout is not None
        return SocketStream(process.stdout, process.stdin)

    async with box.session(attach) as session:
        await session.open(box.open())
        await session.start(
            [script(1, "sleep 60 & kill -9 -1; wait; echo alive"), script(2, "echo two")]
        )
        state = await session.wait_for(lambda state: state.done([1, 2]))
        await session.close()
    assert [step.reason for step in state.steps.values()] == ["Passed", "Passed"]
    assert b"alive\n" in box.log(1) and box.log(2).endswith(b"two\n")
    # One that is slow to answer is given up for another: there may be more.
    assert len(attaches) >= 2
    for process in attaches:
        await process.wait()


async def test_orphans_are_reaped(box: Box) -> None:
    state = await box.run(
        "for i in 1 2 3; do setsid true & done; (sleep 0.1 &)",
        script(
            2,
            "while ps -e -o stat= -o comm= | grep -e ^Z -e 'sleep$'; do sleep 0.05; done >/dev/null",
            command_timeout=100,
        ),
    )
    assert [step.reason for step in state.steps.values()] == ["Passed", "Passed"]


@pytest.fixture
def home(boxkit: Path) -> Iterator[Path]:
    """A directory that every user may read, with a boxkit in it: pytest's own are not."""
    with TemporaryDirectory() as name:
        subprocess.run([boxkit, "install", name], check=True)
        os.chown(name, 65534, 65534)
        yield Path(name)


PROCESSES = 250
"""Processes that a box may have in these tests. Pods have such a limit too, and a bomb without one is the machine's."""


@pytest.fixture
async def limited(home: Path, start: Start) -> Box:
    """A boxkit that is PID 1, and whose user may have few processes. It is killed before its home is removed."""
    user = 61_000 + os.getpid() % 4_000  # whose processes nobody else's count among
    os.chown(home, user, user)
    as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    argv = [*NAMESPACE, *as_user, "prlimit", f"--nproc={PROCESSES}"]
    return await start(argv=argv, root=home, binary=home / "boxkit")


async def test_what_ignores_term_is_killed_at_once_and_whole(limited: Box) -> None:
    bomb = "trap '' TERM; f() { sleep 0.05; f & f; }; f & sleep 600"
    state = await limited.run(
        script(1, bomb, command_timeout=0.4),
        script(2, "ps -e -o comm= | grep -c sleep", phase="after"),
        limits=AttemptLimits(grace=0.3),
    )
    assert state.steps[1].reason == "CommandTimeout"
    assert limited.log(2) == b"0\n"


async def test_a_bomb_that_takes_every_process_ends_neither_the_box_nor_the_session(
    limited: Box,
) -> None:
    bomb = "trap '' TERM; f() { f & f; }; f"
    exhausted = b"Resource temporarily unavailable"
    async with limited.session() as session:
        await session.open(limited.open(limits=AttemptLimits(grace=0.3)))
        await session.start(
            [
                script(1, bomb),
                script(2, "ps -e -o comm= | wc -l; echo $WERCKER_RESULT", phase="after"),
            ]
        )
        while exhausted not in limited.logs.get(1, b"") and not session.state.done([1]):
            await asyncio.sleep(0.02)
        await session.cancel("it has taken every process", after=True)
        state = await session.wait_for(lambda state: state.done([1, 2]))
        await session.close()
    assert state.steps[1].reason in ("Cancelled", "ExitCode")
    assert exhausted in limited.log(1)
    processes, result = limited.log(2).split()
    assert int(processes) <= 4, "boxkit, the shell, ps and wc"
    assert result == b"failed"
    assert await limited.process.wait() == 0


async def test_an_exec_in_the_box_lives_on_when_the_steps_are_stopped(box: Box) -> None:
    async with box.session() as session:
        await session.open(box.open())
        await session.start([script(1, "echo begun; sleep 60", command_timeout=0.5)])
        await session.wait_for(lambda state: 1 in state.steps)
        process = await asyncio.create_subprocess_exec(
            *("nsenter", "--no-fork", "--pid", "--mount", "--target"),
            children_of(box.process.pid)[0],
            # The first shell's child is the first in the namespace. nsenter itself would stop with it.
            *("sh", "-c", "sh -c 'echo in; read line; echo $line'; exit $?"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None and await process.stdout.readline() == b"in\n"
        state = await session.wait_for(lambda state: state.done([1]))
        assert state.steps[1].reason == "CommandTimeout"
        out, _ = await process.communicate(b"alive\n")
        assert (out, process.returncode) == (b"alive\n", 0)
        await session.close()


async def test_a_user_who_may_not_make_pipeline_is_reported(home: Path, start: Start) -> None:
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    box = await start(argv=argv, root=home, binary=home / "boxkit")
    async with box.session() as session:
        with pytest.raises(
            RequestRefused, match="PrepareFailed: cannot make /pipeline-x as user 65534"
        ):
            await session.open(box.open(dirs=["/pipeline-x"]))
        await session.open(box.open())
        await session.start([script(1, "id -u")])
        await session.wait_for(lambda state: state.done([1]))
    assert box.log(1) == b"65534\n"


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


@pytest.mark.parametrize(
    ("verb", "code", "says"),
    [("nonsense", 2, b"usage: boxkit install DIR"), ("init", 1, b"making the session's directory")],
)
def test_what_it_cannot_do_it_says(boxkit: Path, verb: str, code: int, says: bytes) -> None:
    env = {"SENTINEL_SESSION_DIR": "/proc/nowhere"}
    out = subprocess.run([boxkit, verb], env=env, check=False, stderr=subprocess.PIPE)
    assert (out.returncode, says in out.stderr) == (code, True)


async def test_an_alias_that_is_not_a_dns_name_is_added_to_hosts(
    start: Start, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1\tlocalhost\n")
    mount = f'mount --bind {hosts} /etc/hosts && exec "$@"'
    box = await start(argv=["unshare", "--mount", "sh", "-c", mount, "sh"])
    await box.run(
        "true",
        services=[Service(alias="my_db", ports=(), hosts=True), Service(alias="db", ports=())],
    )
    assert hosts.read_text() == "127.0.0.1\tlocalhost\n127.0.0.1\tmy_db\n"
