"""What a step may do to the session's own things: it goes on, or the step fails with a reason."""

from __future__ import annotations

import shlex

import pytest

from sentinel.session.messages import AttemptLimits

from .conftest import Box, script

JUNK = """
import os, socket, sys
for n in range(40):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(sys.argv[1])
        try:
            s.sendall(os.urandom(n * 50))
            if n % 2:
                s.shutdown(socket.SHUT_WR)
                while s.recv(4096):
                    pass
        except (BrokenPipeError, ConnectionResetError):
            pass
idle = [socket.socket(socket.AF_UNIX) for _ in range(30)]
for s in idle:
    s.connect(sys.argv[1])
print("did its worst")
"""


async def test_a_step_that_talks_nonsense_to_the_socket_is_disconnected_and_no_other(
    box: Box,
) -> None:
    socket = box.session_dir / "control.sock"
    state = await box.run(f"python3 -c {shlex.quote(JUNK)} {socket}", "echo next")
    assert [step.reason for step in state.steps.values()] == ["Passed", "Passed"]
    assert (box.log(1), box.log(2)) == (b"did its worst\n", b"next\n")


async def test_a_shell_that_stops_itself_runs_into_the_steps_timeout(
    box: Box, shell: list[str]
) -> None:
    state = await box.run(
        script(1, "kill -STOP $$", command_timeout=0.4),
        script(2, "echo $WERCKER_RESULT", phase="after"),
        limits=AttemptLimits(grace=0.3),
        shell=shell,
    )
    assert state.steps[1].reason == "CommandTimeout"
    assert box.log(2) == b"failed\n"


async def test_a_stopped_child_does_not_hold_up_its_step(box: Box, shell: list[str]) -> None:
    state = await box.run("sh -c 'kill -STOP $$' & echo on", "echo next", shell=shell)
    assert [step.reason for step in state.steps.values()] == ["Passed", "Passed"]
    assert box.log(2) == b"next\n"


async def test_a_daemon_that_holds_the_output_holds_nothing_up(box: Box, shell: list[str]) -> None:
    state = await box.run("setsid sleep 600 & echo on", "echo next", shell=shell)
    assert [step.reason for step in state.steps.values()] == ["Passed", "Passed"]
    assert await box.process.wait() == 0


@pytest.mark.parametrize(
    "code",
    [
        "cat {fifo} >/dev/null & sleep 0.1; echo on; exit 3",
        "head -c 200000 /dev/zero >{fifo} & echo on; wait; exit 3",
        "tr -d '\\n' </dev/urandom | head -c 300000 >{fifo}; echo on; exit 3",
    ],
    ids=["reads it", "floods it with nothing", "floods it with noise"],
)
async def test_a_step_at_the_fifo_fails_by_its_own_code_or_its_timeout(
    box: Box, shell: list[str], code: str
) -> None:
    fifo = box.session_dir / "status"
    state = await box.run(
        script(1, code.format(fifo=fifo), command_timeout=10),
        limits=AttemptLimits(grace=0.3),
        shell=shell,
    )
    assert (state.steps[1].exit, state.steps[1].reason) in [(3, "ExitCode"), (-1, "CommandTimeout")]
    assert box.log(1).endswith(b"on\n")


async def test_a_step_whose_words_are_stolen_runs_once(box: Box, shell: list[str]) -> None:
    """Readers at the FIFO may hear in our stead that it began."""
    fifo, count = box.session_dir / "status", box.root / "count"
    thieves = f"for i in 1 2 3 4 5; do cat {fifo} >/dev/null & done"
    state = await box.run(
        script(1, f"{thieves}; echo ran >>{count}; sleep 0.1; exit 3", command_timeout=30),
        limits=AttemptLimits(grace=0.3),
        shell=shell,
    )
    assert (state.steps[1].exit, state.steps[1].reason) == (3, "ExitCode")
    assert count.read_text() == "ran\n"


async def test_a_step_that_takes_the_sessions_files_away_never_hangs_the_build(
    box: Box, shell: list[str]
) -> None:
    state = await box.run(
        script(1, f"echo on; rm -rf {box.session_dir}/*; true", command_timeout=1),
        script(2, "echo $WERCKER_RESULT", phase="after", command_timeout=1),
        limits=AttemptLimits(grace=0.3),
        shell=shell,
    )
    assert state.steps[1].reason in ("Passed", "CommandTimeout", "Internal")
    assert state.steps[2].state == "finished"
    assert await box.process.wait() == 0
