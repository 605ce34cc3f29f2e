"""Timeouts, cancel, after-steps, close and termination: how steps are stopped and what runs afterwards."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sentinel.session.journal import StepState
from sentinel.session.messages import AttemptLimits, Copy, Result, Service
from sentinel.session.stream import RequestRefused

from .conftest import Box, Start, script


def alive(pid_file: Path) -> bool:
    """Whether the process whose id a step wrote to `pid_file` lives on."""
    try:
        stat = (Path("/proc") / pid_file.read_text().strip() / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def written(path: Path) -> bool:
    """Whether something was written to the file."""
    return path.exists() and bool(path.read_text())


async def cancelled(box: Box, code: str, ready: Callable[[], bool], *, grace: float) -> StepState:
    """Run a step, cancel it when it is ready, and return how it ended."""
    async with box.session() as session:
        await session.open(box.open(limits=AttemptLimits(grace=grace)))
        await session.start([script(1, code)])
        await session.wait_for(lambda state: state.steps[1].state != "queued")
        while not ready():
            await asyncio.sleep(0.01)
        await session.cancel("it is ready")
        state = await session.wait_for(lambda state: state.done([1]))
        await session.close()
    return state.steps[1]


async def test_a_step_that_runs_too_long_is_stopped_and_the_rest_is_skipped(
    box: Box, shell: list[str]
) -> None:
    state = await box.run(
        script(1, "echo $$ >&2; sleep 60", command_timeout=0.3), "true", shell=shell
    )
    assert [
        (step.state, step.exit, step.reason, step.message) for step in state.steps.values()
    ] == [
        ("finished", -1, "CommandTimeout", "it ran longer than 300ms"),
        ("skipped", None, "Skipped", "script failed"),
    ]


async def test_a_step_that_prints_nothing_for_too_long_is_stopped(box: Box) -> None:
    state = await box.run(
        script(
            1,
            "for i in 1 2 3 4 5 6; do sleep 0.1; echo $i; done; sleep 600",
            no_response_timeout=4,
        )
    )
    step = state.steps[1]
    assert (step.reason, step.message) == ("NoResponseTimeout", "it printed nothing for 4s")
    assert box.log(1) == b"1\n2\n3\n4\n5\n6\n"
    assert step.usage.seconds >= 4.6


async def test_processes_that_ignore_term_are_killed_after_the_grace(box: Box) -> None:
    pid = box.root / "pid"
    code = f"trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >{pid}; while :; do sleep 1; done' & wait"
    step = await cancelled(box, code, lambda: written(pid), grace=0.3)
    assert step.reason == "Cancelled"
    assert step.usage.seconds >= 0.3
    assert not alive(pid)


FORGETFUL = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os.execvp("sleep", ["sleep", "3600"]))
print("ready", flush=True)
signal.pause()
"""


async def test_a_program_that_takes_the_place_of_one_that_got_term_gets_it_too(box: Box) -> None:
    """As between a fork of bash and its exec: the signal is the old program's, which has no time to heed it."""
    code = f"python3 -c {shlex.quote(FORGETFUL)}"
    step = await cancelled(box, code, lambda: box.log(1) == b"ready\n", grace=3600)
    assert step.reason == "Cancelled"


async def test_daemons_and_stopped_children_are_stopped_too(box: Box) -> None:
    pid = box.root / "pid"
    code = f"setsid sh -c 'echo $$ >{pid}; kill -STOP $$' & setsid sleep 600 & sleep 600"
    step = await cancelled(box, code, lambda: written(pid), grace=3600)
    assert step.reason == "Cancelled"
    assert not alive(pid)


async def test_the_build_timeout_ends_the_main_phase_and_after_steps_still_run(box: Box) -> None:
    state = await box.run(
        "sleep 60",
        "true",
        script(3, "echo $WERCKER_RESULT", phase="after"),
        limits=AttemptLimits(build=5),  # less, and it may be over before the step begins
    )
    assert [(step.state, step.reason) for step in state.steps.values()] == [
        ("finished", "BuildTimeout"),
        ("skipped", "Skipped"),
        ("finished", "Passed"),
    ]


async def test_cancel_stops_what_runs_and_skips_the_rest(box: Box) -> None:
    async with box.session() as session:
        await session.open(box.open())
        await session.start(
            [script(1, "echo on; sleep 60"), script(2, "true"), script(3, "true", phase="after")]
        )
        await session.wait_for(lambda state: 1 in state.steps and state.steps[1].state == "running")
        await session.cancel("spec.cancel")
        state = await session.wait_for(lambda state: state.done([1, 2, 3]))
        assert [(step.state, step.reason, step.message) for step in state.steps.values()] == [
            ("finished", "Cancelled", "spec.cancel"),
            ("skipped", "Cancelled", "spec.cancel"),
            ("skipped", "Cancelled", "spec.cancel"),
        ]
        assert state.cancelled is not None
        await session.close()
    assert await box.process.wait() == 0


async def test_cancel_may_let_after_steps_run(box: Box) -> None:
    async with box.session() as session:
        await session.open(box.open())
        await session.start(
            [script(1, "sleep 60"), script(2, "echo $WERCKER_RESULT", phase="after")]
        )
        await session.wait_for(lambda state: 1 in state.steps and state.steps[1].state == "running")
        await session.cancel("enough", after=True)
        state = await session.wait_for(lambda state: state.done([1, 2]))
    assert [step.reason for step in state.steps.values()] == ["Cancelled", "Passed"]
    assert box.log(2) == b"failed\n"


async def test_after_steps_have_a_fresh_shell_and_know_the_result(
    box: Box, shell: list[str]
) -> None:
    pid = box.root / "pid"
    after = 'echo "$WERCKER_RESULT|$WERCKER_FAILED_STEP_DISPLAY_NAME|$WERCKER_FAILED_STEP_MESSAGE|${A-gone}|$GIVEN"'
    state = await box.run(
        f"export A=1; sleep 60 & echo $! >{pid}",
        script(2, "fail 'no luck'", display_name="the tests"),
        script(3, "true"),
        script(4, after + f"; cat {box.pipeline}/source/file", phase="after"),
        script(5, "echo still; export B=2", phase="after"),
        script(6, "echo $B; false", phase="after"),
        script(7, "true", phase="after"),
        shell=shell,
        env=[("GIVEN", "literal")],
    )
    assert [(step.state, step.exit) for step in state.steps.values()] == [
        ("finished", 0),
        ("finished", 1),
        ("skipped", None),
        ("finished", 1),
        ("skipped", None),
        ("skipped", None),
        ("skipped", None),
    ]
    assert box.log(4).splitlines()[0] == b"failed|the tests|no luck|gone|literal"
    assert not alive(pid)


async def test_after_steps_that_come_later_get_the_result_that_the_operator_names(box: Box) -> None:
    async with box.session() as session:
        await session.open(box.open())
        await session.start([script(1, "true")])
        await session.wait_for(lambda state: state.done([1]))
        result = Result(
            result="failed", failed_step_display_name="store", failed_step_message="Unable to store"
        )
        show = (
            'echo "$WERCKER_RESULT $WERCKER_FAILED_STEP_DISPLAY_NAME: $WERCKER_FAILED_STEP_MESSAGE"'
        )
        await session.start([script(2, show, phase="after")], result=result)
        await session.wait_for(lambda state: state.done([2]))
        with pytest.raises(RequestRefused, match="MainOver"):
            await session.start([script(3, "true")])
    assert box.log(2) == b"failed store: Unable to store\n"


async def test_a_passed_build_tells_its_after_steps(box: Box) -> None:
    await box.run(
        "true",
        script(2, 'echo "$WERCKER_RESULT ${WERCKER_FAILED_STEP_MESSAGE-unset}"', phase="after"),
    )
    assert box.log(2) == b"passed unset\n"


async def test_sigterm_ends_the_running_step_and_the_box(box: Box) -> None:
    async with box.session() as session:
        await session.open(box.open())
        await session.start([script(1, "echo on; sleep 60"), script(2, "true")])
        await session.wait_for(lambda state: 1 in state.steps and state.steps[1].state == "running")
        box.process.terminate()
        state = await session.wait_for(lambda state: state.closed is not None)
    assert [(step.state, step.reason) for step in state.steps.values()] == [
        ("finished", "BoxTerminated"),
        ("skipped", "Skipped"),
    ]
    assert state.closed is not None and state.closed.reason == "Terminated"
    assert await box.process.wait() == 143
    kinds = [type(record).__name__ for record in box.heard]
    assert kinds[kinds.index("Started") + 1] == "Stopping"


async def test_close_leaves_no_process_behind(box: Box) -> None:
    pid = box.root / "pid"
    await box.run(f"sleep 60 & echo $! >{pid}")
    assert await box.process.wait() == 0
    assert not alive(pid)


async def test_orphans_are_reaped(box: Box) -> None:
    state = await box.run(
        "for i in 1 2 3; do (sleep 0.01 &) ; done; sleep 0.3",
        script(
            2,
            "until ! ps -o stat= --ppid $PPID | grep -q Z; do sleep 0.05; done",
            command_timeout=20,
        ),
    )
    assert state.steps[2].reason == "Passed"


async def test_out_of_memory_fails_a_step_even_if_it_exits_0(start: Start, tmp_path: Path) -> None:
    group = tmp_path / "cgroup"
    group.mkdir()
    (group / "cpu.stat").write_text("usage_usec 5000000\nuser_usec 1\n")
    (group / "memory.peak").write_text("4096\n")
    (group / "memory.events").write_text("low 0\noom 0\noom_kill 2\n")
    box = await start(env={"SENTINEL_CGROUP_DIR": str(group)})
    state = await box.run(f"printf 'low 0\\noom 1\\noom_kill 3\\n' >{group}/memory.events", "true")
    assert (state.steps[1].exit, state.steps[1].reason) == (0, "OutOfMemory")
    assert state.steps[1].usage.peak_memory_bytes == 4096
    assert state.steps[2].state == "skipped"


async def test_services_are_waited_for_before_the_first_step(box: Box) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    state = await box.run("true", services=[Service(alias="db", ports=(port,))])
    server.close()
    seen = state.services["db"]
    assert seen.ready
    assert state.steps[1].started is not None and seen.time <= state.steps[1].started


async def test_what_cannot_be_prepared_is_refused_and_may_be_tried_again(box: Box) -> None:
    (box.root / "file").write_text("")
    async with box.session() as session:
        with pytest.raises(
            RequestRefused, match=r"PrepareFailed: cannot make .*/file/dir as user \d+"
        ):
            await session.open(box.open(dirs=[str(box.root / "file" / "dir")]))
        assert session.state.opened is None
        await session.open(box.open())
        assert session.state.opened is not None


async def test_prepare_copies_modes_and_symlinks(box: Box) -> None:
    tree = box.root / "mnt" / "source"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "run").write_text("#!/bin/sh\n")
    (tree / "sub" / "run").chmod(0o754)
    (tree / "link").symlink_to("sub/run")
    (tree / "closed").mkdir()
    (tree / "closed" / "inner").write_text("x")
    (tree / "closed").chmod(0o555)
    source = box.pipeline / "source"
    copies = [
        Copy(source=str(tree), target=str(source)),
        Copy(source=str(box.root / "missing"), target=str(box.root / "none")),
    ]
    await box.run("true", copies=copies)
    assert {
        str(path.relative_to(source)): (
            oct(path.lstat().st_mode & 0o777) if not path.is_symlink() else str(path.readlink())
        )
        for path in source.rglob("*")
    } == {
        "sub": "0o755",
        "sub/run": "0o754",
        "link": "sub/run",
        "closed": "0o555",
        "closed/inner": "0o644",
    }
    (tree / "closed").chmod(0o755)
    (source / "closed").chmod(0o755)


async def test_prepare_empties_what_an_image_has_left_first(box: Box) -> None:
    source, output = box.pipeline / "source", box.root / "output"
    (source / "old").mkdir(parents=True)
    (source / "old" / "file").write_text("of the build before")
    (source / "wercker.yml").symlink_to("/nowhere")
    (box.root / "elsewhere").mkdir()
    (box.root / "elsewhere" / "kept").write_text("x")
    output.symlink_to(box.root / "elsewhere")
    tree = box.root / "mnt"
    tree.mkdir(exist_ok=True)
    (tree / "new").write_text("")
    clear = [str(source), str(output), str(box.root / "missing")]
    await box.run("true", clear=clear, copies=[Copy(source=str(tree), target=str(source))])
    assert [path.name for path in source.iterdir()] == ["new"]
    assert (box.root / "elsewhere" / "kept").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory with room for the journal and little more."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1600k", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


async def test_a_full_disk_is_the_node_s_fault_and_not_the_step_s(
    small_disk: Path, start: Start
) -> None:
    box = await start(env={"SENTINEL_SESSION_DIR": str(small_disk / "session")}, root=small_disk)
    fill = f"head -c 3000000 /dev/zero >{small_disk}/fill 2>/dev/null || true"
    state = await box.run(fill, "echo never")
    assert [step.reason for step in state.steps.values()] == ["Passed", "NodeDiskFull"]
    assert "no space left" in state.steps[2].message
