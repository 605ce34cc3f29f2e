"""Script steps end to end, in each shell that boxes have: exit codes, what survives, what is reset."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sentinel.session.messages import StepSpec

from .conftest import Box, script

SURVIVORS = """
export EXPORTED='with "quotes", $dollar and
a second line'
plain=unexported
greet() { echo "hello $1"; }
alias shout='echo LOUD'
umask 027
cd /
"""


async def test_variables_functions_aliases_and_umask_survive_while_cwd_and_errexit_are_reset(
    box: Box, shell: list[str]
) -> None:
    state = await box.run(
        SURVIVORS, '#!\nfalse; echo "$EXPORTED|$plain"; greet you; shout; umask; pwd', shell=shell
    )
    assert [(step.exit, step.reason) for step in state.steps.values()] == [(0, "Passed")] * 2
    assert box.log(1) == b""
    assert box.log(2).decode().splitlines() == [
        'with "quotes", $dollar and',
        "a second line|unexported",
        "hello you",
        "LOUD",
        "0027",
        f"{box.pipeline}/source",
    ]


@dataclass(frozen=True)
class Row:
    """One row of wercker.md "The shell": the code of a script step, its exit code, and others that some shells give."""

    code: str
    exit: int
    also: frozenset[int] = frozenset()


ROWS = {
    "last status 0": Row("true", 0),
    "last status n without -e": Row("#!/bin/sh\nfalse\n(exit 7)", 7),
    "only the last status counts without -e": Row("#!/bin/sh\nfalse\ntrue", 0),
    "return 0": Row("return 0; false", 0),
    "return n": Row("return 4", 4),
    "failing command with -e": Row("false; true", 1),
    "exit n": Row("exit 3", 3),
    "exit 0 passes": Row("exit 0; false", 0),
    "exec": Row("exec sh -c 'exit 9'", 9),
    "exec that passes": Row("exec true", 0),
    # bash says 127 or 1, the others 2: the shell's own business.
    "unset variable with -u": Row("set -u; echo $nothing_here", 1, frozenset({2, 127})),
    "killed by a signal": Row("kill -9 $$; sleep 5", 137),
    "syntax error": Row("if", 2),
    "unterminated quote": Row("echo 'a", 2),
    "command not found": Row("no-such-command-anywhere", 127),
    "fail": Row("fail 'it broke'", 1),
    "no code": Row("", 0),
    "pipe of no interest": Row("false | true", 0),
}


@pytest.mark.parametrize("name", ROWS)
async def test_exit_code(box: Box, shell: list[str], name: str) -> None:
    row = ROWS[name]
    state = await box.run("export BEFORE=1", row.code, "echo next", shell=shell)
    step = state.steps[2]
    assert step.exit in {row.exit, *row.also}
    assert step.reason == ("Passed" if row.exit == 0 else "ExitCode")
    assert state.steps[3].state == ("finished" if row.exit == 0 else "skipped")


async def test_after_exit_0_the_next_step_has_the_exports_and_functions_of_wercker_init(
    box: Box, shell: list[str]
) -> None:
    state = await box.run(
        "export A='1 \"2\" $3\n4'",
        "export B=2; exit 0",
        'success "$A $B"; type greet || true',
        shell=shell,
    )
    assert [step.exit for step in state.steps.values()] == [0, 0, 0]
    assert box.log(3).startswith(b'\x1b[1;32m1 "2" $3\n4 2\x1b[m\n')


async def test_a_replaced_exit_trap_falls_back_to_the_last_boundary(
    box: Box, shell: list[str]
) -> None:
    await box.run(
        "export A=1",
        "export B=2; trap 'echo mine' EXIT; exit 0",
        'echo "$A ${B-none}"',
        shell=shell,
    )
    assert (box.log(2), box.log(3)) == (b"mine\n", b"1 none\n")


async def test_an_exit_trap_that_was_set_earlier_runs_when_the_shell_ends(
    box: Box, shell: list[str]
) -> None:
    await box.run("trap 'echo bye' EXIT", "exit 0", shell=shell)
    assert box.log(2) == b"bye\n"


async def test_tracing_shows_the_step_and_nothing_of_ours(box: Box, shell: list[str]) -> None:
    await box.run("set -x", "echo hi", "set +x; echo quiet", shell=shell)
    ours = [box.log(at).replace(str(box.root).encode(), b"") for at in (1, 2, 3)]
    assert ours[0] == b""
    assert b"+ echo hi\nhi\n" in ours[1]
    for log in ours:
        assert b"export" not in log and b"status" not in log and b"drivers" not in log


async def test_a_step_that_redefines_builtins_does_not_disturb_the_next(box: Box) -> None:
    state = await box.run(
        "cd() { echo bad; }; export() { echo bad; }; set() { echo bad; }; echo() { printf 'own %s\\n' \"$1\"; };"
        " alias cd='false' export='false'; exec 3>&- 9>&-",
        "#!\necho fine",
    )
    assert [step.reason for step in state.steps.values()] == ["Passed", "Passed"]
    assert box.log(2) == b"own fine\n"


async def test_a_step_that_closes_every_descriptor_is_followed_by_a_new_shell(
    box: Box, shell: list[str]
) -> None:
    # dash knows one digit only; busybox ash closes its own script beyond 9 and spins until the step's timeout.
    more = "10 11 12 255" if "bash" in shell[0] else ""
    code = f'export A=1; for n in 0 3 4 5 6 7 8 9 {more}; do eval "exec $n<&-" 2>/dev/null || true; done'
    state = await box.run(code, 'echo "$A"; exit 6', "true", shell=shell)
    assert [(step.state, step.exit) for step in state.steps.values()] == [
        ("finished", 0),
        ("finished", 6),
        ("skipped", None),
    ]
    assert box.log(2).endswith(b"1\n")


async def test_reading_stdin_finds_its_end_and_not_our_commands(box: Box, shell: list[str]) -> None:
    state = await box.run("cat; read line || echo nothing", "echo next", shell=shell)
    assert [step.exit for step in state.steps.values()] == [0, 0]
    assert (box.log(1), box.log(2)) == (b"nothing\n", b"next\n")


async def test_a_background_writer_does_not_hold_a_step_open(box: Box) -> None:
    # Before the second of two files is made again, `tick` is printed in this step.
    again = "rm -f ticked; until [ -e ticked ]; do sleep 0.02; done"
    state = await box.run(
        "(while :; do echo tick; : >ticked; sleep 0.02; done) & echo started",
        f"{again}; {again}; echo second",
    )
    assert [step.reason for step in state.steps.values()] == ["Passed", "Passed"]
    assert b"started\n" in box.log(1)
    assert b"tick\n" in box.log(2) and b"second\n" in box.log(2)


async def test_step_variables_exports_and_cwd(box: Box, shell: list[str]) -> None:
    step = script(
        1,
        'pwd; echo "$WERCKER_X_OPT"; echo "$WERCKER_X_LATER"; echo "$WERCKER_STEP_ID $WERCKER_STEP_NAME'
        ' $WERCKER_STEP_OWNER"; test -d "$WERCKER_STEP_TEMP"; test -d "$WERCKER_REPORT_ARTIFACTS_DIR";'
        ' echo "$WERCKER_STEP_ROOT|$WERCKER_REPORT_MESSAGE_FILE"',
        exports=[
            ("WERCKER_X_OPT", 'a "quoted" \\ `tick` ${WERCKER}:$(echo run)\nline two'),
            ("WERCKER_X_LATER", "${WERCKER_X_OPT%%:*}"),
            ("NOT-A.NAME", "x"),
        ],
        cwd="$SUB/dir",
    )
    (box.pipeline / "source" / "my sub" / "dir").mkdir(parents=True)
    state = await box.run(step, shell=shell, env=[("SUB", "my sub")])
    assert state.steps[1].reason == "Passed"
    assert box.log(1).decode().splitlines() == [
        'sentinel: "NOT-A.NAME" is no name for a variable; it is not exported',
        f"{box.pipeline}/source/my sub/dir",
        'a "quoted" \\ `tick` true:run',
        "line two",
        'a "quoted" \\ `tick` true',
        "script-1 script wercker",
        f"{box.pipeline}/script-1|{box.root}/report/script-1/message.txt",
    ]


async def test_a_cwd_that_does_not_exist_fails_the_step(box: Box, shell: list[str]) -> None:
    state = await box.run(script(1, "echo ran", cwd="nowhere"), shell=shell)
    assert (state.steps[1].exit, state.steps[1].reason) == (1, "ExitCode")
    assert b"nowhere" in box.log(1) and b"ran" not in box.log(1)


async def test_the_environment_is_literal(box: Box, shell: list[str]) -> None:
    value = "a'b\"c$HOME`x`\\ \n\ttwo"
    await box.run('printf "[%s]" "$ODD"', env=[("ODD", value)], shell=shell)
    assert box.log(1).decode() == f"[{value}]"


async def test_the_message_file_becomes_the_message(box: Box, shell: list[str]) -> None:
    state = await box.run('setMessage "all good"', 'fail "it broke"', shell=shell)
    assert [(step.reason, step.message) for step in state.steps.values()] == [
        ("Passed", "all good"),
        ("ExitCode", "it broke"),
    ]


async def test_a_fetched_step_is_copied_and_its_init_and_run_are_sourced(
    box: Box, shell: list[str]
) -> None:
    step_dir = box.root / "mnt" / "deploy-1"
    step_dir.mkdir(parents=True)
    (step_dir / "init.sh").write_text("helper() { echo helped; }\n")
    (step_dir / "run.sh").write_text('helper; false; cat "$WERCKER_STEP_ROOT/data"\n')
    (step_dir / "data").write_text("data\n")
    (step_dir / "link").symlink_to("data")
    step = StepSpec(ordinal=1, id="deploy-1", name="deploy", kind="step", dir=str(step_dir))
    # After `exit 0` a new shell knows the step's functions again.
    state = await box.run(step, "exit 0", "helper", shell=shell)
    assert [each.reason for each in state.steps.values()] == ["Passed"] * 3
    assert (box.log(1), box.log(3)) == (b"helped\ndata\n", b"helped\n")
    assert (box.pipeline / "deploy-1" / "link").is_symlink()


async def test_a_failing_init_fails_the_step_before_run(box: Box, shell: list[str]) -> None:
    step_dir = box.root / "mnt" / "deploy-1"
    step_dir.mkdir(parents=True)
    (step_dir / "init.sh").write_text("return 5\n")
    (step_dir / "run.sh").write_text("echo ran\n")
    state = await box.run(
        StepSpec(ordinal=1, id="deploy-1", name="deploy", kind="step", dir=str(step_dir)),
        shell=shell,
    )
    assert (state.steps[1].exit, box.log(1)) == (5, b"")


async def test_a_box_without_a_shell_is_reported(box: Box) -> None:
    state = await box.run("true", "true", shell=["/nowhere/bash"])
    assert [(step.state, step.exit, step.reason) for step in state.steps.values()] == [
        ("finished", -1, "ShellMissing"),
        ("skipped", None, "Skipped"),
    ]
    assert state.opened is not None and state.opened.shell == ""


async def test_the_shell_is_started_by_the_entrypoint(box: Box) -> None:
    state = await box.run("echo $ENTERED", entrypoint=["env", "ENTERED=yes"], shell=["dash"])
    assert state.steps[1].reason == "Passed"
    assert box.log(1) == b"yes\n"


async def test_usage_and_times_are_recorded(box: Box) -> None:
    state = await box.run("sleep 0.1")
    step = state.steps[1]
    assert step.started is not None and step.finished is not None
    assert (step.finished_ns - step.started_ns) / 1e9 >= 0.1
    assert step.usage.seconds == pytest.approx(
        (step.finished_ns - step.started_ns) / 1e9, abs=0.001
    )


async def test_the_functions_of_wercker_init(box: Box, shell: list[str]) -> None:
    code = (
        "success s; info i; debug d; warn w; error 'two\\nlines'; get_option some-key; get_option other fallback;"
        ' setMessage one; cat "$WERCKER_REPORT_MESSAGE_FILE"; fatal over'
    )
    step = script(1, code, exports=[("WERCKER_SCRIPT_SOME_KEY", "property of $WERCKER_STEP_NAME")])
    state = await box.run(step, shell=shell)
    assert box.log(1).decode().split("\n") == [
        "\x1b[1;32ms\x1b[m",
        "\x1b[1;34mi\x1b[m",
        "\x1b[1;30md\x1b[m",
        "\x1b[1;33mw\x1b[m",
        "\x1b[1;31merror: two",
        "lines\x1b[m",
        "property of script",
        "fallback",
        "one",
        "\x1b[1;31mfailed: over\x1b[m",
        "",
    ]
    assert (state.steps[1].exit, state.steps[1].message) == (1, "over")


async def test_sudo_is_nothing_for_root(box: Box, shell: list[str]) -> None:
    await box.run("sudo echo done", shell=shell)
    assert box.log(1) == b"done\n"


async def test_steps_may_come_one_at_a_time(box: Box) -> None:
    """With a commit between two of them: the shell goes on, and the rest is skipped after a failure."""
    steps = [script(1, "export A=1"), script(2, 'exit "$((A + 2))"'), script(3, "true")]
    async with box.session() as session:
        await session.open(box.open())
        await session.start(steps[:1])
        await session.wait_for(lambda state: state.done([1]))
        await session.start(steps[1:2])
        await session.wait_for(lambda state: state.done([2]))
        await session.start(steps)
        state = await session.wait_for(lambda state: state.done([1, 2, 3]))
    ends = [(step.state, step.reason, step.exit) for step in state.steps.values()]
    assert ends == [
        ("finished", "Passed", 0),
        ("finished", "ExitCode", 3),
        ("skipped", "Skipped", None),
    ]


async def test_a_cancel_between_two_steps_skips_what_comes_then(box: Box) -> None:
    steps = [script(1, "true"), script(2, "true")]
    async with box.session() as session:
        await session.open(box.open())
        await session.start(steps[:1])
        await session.wait_for(lambda state: state.done([1]))
        await session.cancel("spec.cancel was set")
        await session.start(steps)
        state = await session.wait_for(lambda state: state.done([1, 2]))
    assert [step.reason for step in state.steps.values()] == ["Passed", "Cancelled"]
