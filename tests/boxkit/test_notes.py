"""What the operator adds to the build's log, what a step leaves in its report, and entrypoints before the shell."""

from __future__ import annotations

import asyncio

from .conftest import Box, script


async def test_a_note_begins_a_line_of_the_running_steps_log_is_masked_and_comes_once(
    box: Box,
) -> None:
    async with box.session() as session:
        await session.open(box.open(masks=[b"s3cret"]))
        await session.note("service/a", "before: s3cret")
        code = f"printf half; while [ ! -e {box.root}/go ]; do sleep 0.01; done; echo more"
        await session.start([script(1, code)])
        while not box.logs.get(1, b"").endswith(b"half"):
            await asyncio.sleep(0.01)
        await session.note("service/b", "service b ended\nlast line: s3cret\n")
        await session.note("service/b", "service b ended again")
        (box.root / "go").touch()
        await session.wait_for(lambda state: state.done([1]))
        await session.close()
    assert box.log(1) == b"before: ****\nhalf\nservice b ended\nlast line: ****\nmore\n"


async def test_a_step_that_left_report_files_is_reported(box: Box) -> None:
    state = await box.run(
        'mkdir -p "$WERCKER_REPORT_ARTIFACTS_DIR/deep/er"',
        'mkdir "$WERCKER_REPORT_ARTIFACTS_DIR/deep"; echo x > "$WERCKER_REPORT_ARTIFACTS_DIR/deep/x"; exit 3',
    )
    assert [(step.exit, step.artifacts) for step in state.steps.values()] == [(0, False), (3, True)]


async def test_an_entrypoint_that_runs_no_shell_is_named(box: Box) -> None:
    state = await box.run("true", entrypoint=["sh", "-c", "exit 4", "--"])
    step = state.steps[1]
    assert step.reason == "ShellMissing"
    assert "the entrypoint sh -c exit 4 -- ended with 4 and did not run" in step.message


async def test_an_entrypoint_that_does_not_exist_is_named(box: Box) -> None:
    state = await box.run("true", entrypoint=["/nowhere/tini", "--"])
    assert state.steps[1].reason == "ShellMissing"
    assert '"/nowhere/tini" is not there' in state.steps[1].message
