"""The ten steps of tests/steps in the real shell of a box: found in a registry, unpacked, and run by boxkit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sentinel.session.messages import StepSpec
from sentinel.settings import StepSettings
from sentinel.source.unpack import ArchiveLimits, unpack
from sentinel.steps import WantedStep, step_source
from sentinel.steps.serve import StepServer
from tests.boxkit.conftest import Box, script
from tests.unit.source.conftest import loopback  # noqa: F401 - the registry of these steps is there

Use = Callable[..., Awaitable[StepSpec]]


@pytest.fixture
async def use(tmp_path: Path) -> Use:
    """A step of the lab as the box gets it: fetched, unpacked, its properties as exports."""

    async def step(ordinal: int, name: str, version: str = "*", **given: str) -> StepSpec:
        async with StepServer(Path(__file__).parents[1] / "steps").running("127.0.0.1", 0) as url:
            source = step_source(StepSettings(registry=url), cache_dir=tmp_path / "cache")
            found = await source.find(WantedStep(owner="lab", name=name, version=version))
        directory = tmp_path / "mnt" / f"{name}-{ordinal}"
        unpack(str(found.archive), str(directory), limits=ArchiveLimits(), strip="none")
        given = {key.replace("_", "-"): value for key, value in given.items()}
        values = {each.name: each.default for each in found.manifest.properties}
        known = {key.replace("_", "-"): key for key in values}
        values |= {known[key]: value for key, value in given.items()}
        return StepSpec(
            ordinal=ordinal,
            id=f"{name}-{ordinal}",
            name=name,
            owner="lab",
            kind="step",
            phase="after" if name == "notify" else "main",
            dir=str(directory),
            exports=[
                (f"WERCKER_{name}_{key}".replace("-", "_").upper(), value)
                for key, value in values.items()
            ],
        )

    return step


def env_of(box: Box, **more: str) -> list[tuple[str, str]]:
    variables = {
        "WERCKER_ROOT": str(box.pipeline / "source"),
        "WERCKER_SOURCE_DIR": str(box.pipeline / "source"),
        "WERCKER_CACHE_DIR": str(box.root / "cache"),
        "WERCKER_GIT_BRANCH": "main",
        "WERCKER_GIT_REPOSITORY": "project",
        "WERCKER_STARTED_BY": "ada",
        "WERCKER_BUILD_URL": "https://example.com/1",
        "BUILD": "true",
    }
    return list((variables | more).items())


async def test_all_ten_in_one_session_of_bash(box: Box, use: Use) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    source, bin_dir, room = box.pipeline / "source", box.root / "bin", box.root / "room"
    steps = [
        await use(1, "write-file", filename="deps.txt", content="one\\ntwo"),
        await use(2, "fetch-deps"),
        await use(3, "fetch-deps", into="again"),
        await use(4, "make-temp", envvar="MY_FILE"),
        await use(5, "make-temp", "1.0.0", envvar="OTHER"),
        script(6, '[ -f "$MY_FILE" ] && [ -f "$OTHER" ] && echo "$MY_FILE" > kept'),
        await use(7, "only-on", branches="^release", text="never"),
        await use(8, "only-on", branches="^(main|dev)$", text="on main"),
        await use(9, "greet", times="2"),
        await use(10, "setup-workspace"),
        script(11, 'workspace_say "$workspace_since" | grep -c "workspace: [0-9]"; echo "$PATH"'),
        script(12, "printf 'echo installed' > tool.sh"),
        await use(13, "install-program", program="tool", script="tool.sh", into=str(bin_dir)),
        script(14, "printf 'branch ${WERCKER_GIT_BRANCH}, ${MY_FILE:+set}\\n' > page.template"),
        await use(15, "render", template="page.template", output="page"),
        await use(16, "count-lines", path="vendor"),
        await use(17, "notify", room=str(room), notify_on="always"),
    ]
    state = await box.run(*steps, shell=[bash], env=env_of(box))

    logs = {each: box.log(each).decode() for each in range(1, 18)}
    assert [each.reason for each in state.steps.values()] == ["Passed"] * 17, logs
    assert "wrote deps.txt" in logs[1]
    assert logs[2] == "one: downloaded\ntwo: downloaded\n"
    assert logs[3] == "one: from the cache\ntwo: from the cache\n"
    assert (source / "again/two").read_text() == "this is two\n"
    assert (source / "kept").read_text().strip() in logs[4]
    assert "branch main is none of ^release: skipped" in logs[7]
    assert "never" not in logs[7]
    assert logs[8] == "on main\n"
    assert logs[9] == "hello world!\nhello world!\n"
    assert logs[11].splitlines()[0] == "1"
    assert logs[11].splitlines()[1].startswith(f"{box.pipeline}/setup-workspace-10/workspace/bin:")
    assert (bin_dir / "tool").stat().st_mode & 0o777 == 0o755
    assert (source / "page").read_text() == "branch main, set\n"
    assert logs[16] == "lines: 2\n"
    assert state.steps[16].message == "2 lines"
    assert (box.root / "report/count-lines-16/artifacts/lines.txt").read_text() == "lines 2\n"
    assert json.loads(room.read_text()) == {
        "result": "passed",
        "text": "build of project (main) passed",
        "by": "ada",
        "url": "https://example.com/1",
    }


async def test_a_failure_is_reported_and_the_notifier_tells_of_it(
    box: Box, use: Use, shell: list[str]
) -> None:
    room = box.root / "room"
    steps = [
        script(1, "seq 10 > lines"),
        await use(2, "count-lines", most="5"),
        await use(3, "greet"),
        await use(4, "notify", room=str(room), notify_on="failed"),
    ]
    state = await box.run(
        *steps,
        shell=shell,
        env=env_of(
            box, DEPLOY="true", WERCKER_DEPLOYTARGET_NAME="prod", WERCKER_DEPLOY_URL="https://x/2"
        ),
    )

    assert [each.reason for each in state.steps.values()] == [
        "Passed",
        "ExitCode",
        "Skipped",
        "Passed",
    ]
    assert state.steps[2].message == "10 lines, and only 5 are allowed"
    assert json.loads(room.read_text()) == {
        "result": "failed",
        "text": "deploy to prod of project (main) failed at count-lines: 10 lines, and only 5 are allowed",
        "by": "ada",
        "url": "https://x/2",
    }


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("write-file", {}, "filename is missing"),
        ("write-file", {"filename": "there", "content": "x"}, "there is there already, and overwrite is not true"),
        ("make-temp", {"envvar": "A", "type": "socket"}, "type is socket; it may be file or directory"),
        ("install-program", {"program": "x", "script": "nothing"}, "there is no nothing"),
        ("render", {"template": "nothing"}, "there is no template nothing"),
    ],
)  # fmt: skip
async def test_what_a_step_complains_of_is_the_build_s_message(
    box: Box, use: Use, name: str, given: dict[str, str], message: str
) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    state = await box.run(
        script(1, "touch there"), await use(2, name, **given), shell=[bash], env=env_of(box)
    )

    assert (state.steps[2].exit, state.steps[2].message) == (1, message)


async def test_those_that_need_no_bash_run_in_every_shell(
    box: Box, use: Use, shell: list[str]
) -> None:
    steps = [
        await use(1, "greet", whom="$WERCKER_STARTED_BY", loud="false"),
        await use(2, "make-temp", envvar="MADE", type="directory"),
        script(3, "echo 'for ${WERCKER_STARTED_BY}' > \"$MADE/x.template\""),
        await use(4, "render", template="$MADE/x.template"),
        script(5, 'cat "$MADE/x"'),
    ]
    state = await box.run(*steps, shell=shell, env=env_of(box))

    assert [each.reason for each in state.steps.values()] == ["Passed"] * 5
    assert (box.log(1), box.log(5)) == (b"hello ada\n", b"for ada\n")
