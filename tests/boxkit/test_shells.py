"""What a step leaves in the shell, in each of the shells that boxes have (wercker.md "The shell"): options, traps,
jobs, descriptors. Whatever it is, the next step begins where it should and its result is its own.
"""

from __future__ import annotations

import re

import pytest

from sentinel.session.messages import AttemptLimits

from .conftest import Box, script

SETTINGS = {
    # What a step sets, and what the next one runs; the exit code and log of that.
    "-u survives": ("set -u", "echo ${nothing_here}; echo on", None, rb"nothing_here"),
    "-f survives": ("set -f", "echo /*", 0, rb"^/\*\n$"),
    "-C survives": ("set -C; echo a >there", "echo b >there", None, rb"there"),
    "-e does not survive": ("set -e", "#!\nfalse; echo on", 0, rb"^on\n$"),
    "IFS survives": ("IFS=0123456789", "x=a1b; echo $x; (exit 0)", 0, rb"^a b\n$"),
    "positional parameters survive": ("set -- a b", 'echo "$# $2"', 0, rb"^2 b\n$"),
    "a read-only variable": (
        "readonly WERCKER_STEP_NAME WERCKER_STEP_ID || true",
        "echo on",
        0,
        rb"on\n$",
    ),
    "no PATH": ("export PATH=", "echo on", 0, rb"^on\n$"),
    "no HOME, no PWD": ("unset HOME PWD OLDPWD", "echo on", 0, rb"^on\n$"),
    "output into a file": ("exec >out 2>&1", "echo lost", 0, rb"^$"),
    "no output": ("exec >&- 2>&-", "true", 0, rb"^$"),
    "no files at all": ("ulimit -f 0", "echo on", 0, rb"^on\n$"),
    "its directory is gone": ('mkdir d; cd d; rmdir "$PWD"', "echo on", 0, rb"^on\n$"),
    "job control": ("set -m; sleep 0 & wait", "echo on", 0, rb"^on\n$"),
    "unalias -a": ("unalias -a", "echo on", 0, rb"^on\n$"),
}


@pytest.mark.parametrize("name", SETTINGS)
async def test_what_a_step_sets_is_there_for_the_next_and_hurts_nothing_of_ours(
    box: Box, shell: list[str], name: str
) -> None:
    first, second, exit_, log = SETTINGS[name]
    state = await box.run(first, second, shell=shell)
    assert (state.steps[1].reason, state.steps[1].exit) == ("Passed", 0), box.log(1)
    step = state.steps[2]
    assert step.exit == exit_ if exit_ is not None else step.exit in (1, 2, 127)
    assert re.search(log, box.log(2)), box.log(2)


async def test_verbose_shows_the_steps_lines_and_none_of_ours(box: Box, shell: list[str]) -> None:
    await box.run("set -v", "echo hi", "set +v; echo quiet", shell=shell)
    ours = [box.log(at).replace(str(box.root).encode(), b"") for at in (1, 2, 3)]
    assert b"echo hi\nhi\n" in ours[1]
    for log in ours:
        assert b"export -p" not in log and b"status" not in log and b'echo "S' not in log


async def test_a_background_job_is_there_for_the_next_step_and_gone_for_after_steps(
    box: Box, shell: list[str]
) -> None:
    state = await box.run(
        "sleep 60 & echo $! >job; true",
        'kill -0 $(cat job) && kill -0 $! && echo "its child"',
        script(3, "kill -0 $(cat job) 2>/dev/null || echo gone", phase="after"),
        shell=shell,
    )
    assert [step.reason for step in state.steps.values()] == ["Passed"] * 3
    assert (box.log(2), box.log(3)) == (b"its child\n", b"gone\n")


async def test_a_job_may_be_waited_for_in_a_later_step(box: Box, shell: list[str]) -> None:
    state = await box.run("(sleep 0.2; exit 5) & job=$!", "wait $job", shell=shell)
    assert (state.steps[2].exit, state.steps[2].reason) == (5, "ExitCode")


async def test_a_trap_survives_and_is_run_in_the_step_that_gets_the_signal(
    box: Box, shell: list[str]
) -> None:
    state = await box.run("trap 'echo got it' USR1", "kill -USR1 $$; echo after", shell=shell)
    assert state.steps[2].reason == "Passed"
    assert box.log(2) == b"got it\nafter\n"


async def test_a_step_that_ignores_every_signal_is_stopped_at_its_timeout(
    box: Box, shell: list[str]
) -> None:
    state = await box.run(
        script(1, "trap '' HUP INT QUIT TERM; while :; do sleep 1; done", command_timeout=0.4),
        script(2, "echo $WERCKER_RESULT", phase="after"),
        limits=AttemptLimits(grace=0.3),
        shell=shell,
    )
    assert state.steps[1].reason == "CommandTimeout"
    assert box.log(2) == b"failed\n"


async def test_debug_and_error_traps_of_bash_see_the_step_and_spoil_no_variable(box: Box) -> None:
    traps = "trap 'echo tr4ced' DEBUG; trap 'echo failed' ERR; trap 'echo returned' RETURN"
    async with box.session() as session:
        await session.open(box.open(shell=["/bin/bash"]))
        await session.start(
            [
                script(1, f"{traps}; export A='1 2'"),
                script(2, "export B=3; exit 0"),
                script(3, 'echo "$A $B"'),
            ]
        )
        state = await session.wait_for(lambda state: state.done([1, 2, 3]))
        env = dict(await session.environment())
        await session.close()
    assert [step.exit for step in state.steps.values()] == [0, 0, 0]
    assert box.log(3).splitlines()[-1] == b"1 2 3"
    assert (env["A"], env["B"]) == ("1 2", "3")
    assert not any("tr4ced" in f"{name}={value}" for name, value in env.items())
