"""What a step leaves behind in the places of files that boxkit opens, and steps that remove what boxkit needs."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from sentinel.session.messages import AttemptLimits, Collect, Upload
from sentinel.session.records import Collected, CollectFailed

from .conftest import Box, Start, script
from .test_logs import Store, store  # noqa: F401 - a fixture


@pytest.mark.parametrize(
    "leave",
    [
        'mkfifo "$WERCKER_REPORT_MESSAGE_FILE"',
        'ln -s ../fifo "$WERCKER_REPORT_MESSAGE_FILE"; mkfifo "$WERCKER_REPORT_MESSAGE_FILE/../../fifo"',
        'mkdir "$WERCKER_REPORT_MESSAGE_FILE"',
        'rm -rf "$WERCKER_REPORT_ARTIFACTS_DIR"; mkfifo "$WERCKER_REPORT_ARTIFACTS_DIR"',
        'ln -s /proc/kmsg "$WERCKER_REPORT_MESSAGE_FILE"',
    ],
)
async def test_a_message_file_that_is_not_a_file_holds_nothing_up(
    box: Box, shell: list[str], leave: str
) -> None:
    code = f'rm -f "$WERCKER_REPORT_MESSAGE_FILE"; {leave} || true; exit 3'
    async with asyncio.timeout(150):
        state = await box.run(script(1, code, command_timeout=10), shell=shell)
    step = state.steps[1]
    assert (step.exit, step.reason, step.message) == (3, "ExitCode", "exited with code 3")


async def test_fifos_in_the_way_of_the_next_step_hold_nothing_up(
    box: Box, shell: list[str]
) -> None:
    """run.sh of the next step, its log and its driver: all of their names can be guessed."""
    make = (
        f"mkdir -p {box.pipeline}/script-2; mkfifo {box.pipeline}/script-2/run.sh; "
        f"cd {box.session_dir}; for i in 1 2 3 4 5 6 7 8 9; do mkfifo drivers/$i log/$i 2>/dev/null || true; done"
    )
    async with asyncio.timeout(150):
        state = await box.run(
            make, "echo next", script(3, "echo $WERCKER_RESULT", phase="after"), shell=shell
        )
    assert [step.reason for step in state.steps.values()] == ["Passed", "Passed", "Passed"]
    assert (box.log(2), box.log(3)) == (b"next\n", b"passed\n")


async def test_a_step_that_empties_run_passes_and_the_build_goes_on(
    box: Box, shell: list[str]
) -> None:
    """`rm -rf /run/*` in a script that makes an image small: the FIFO, the socket and all logs go."""
    before = f"{box.root}/before"
    async with box.session() as session:
        await session.open(box.open(shell=shell))
        await session.start(
            [
                script(1, "echo first"),
                script(
                    2,
                    f"cp -r {box.session_dir}/log {before}; rm -rf {box.session_dir}/*; echo cleaned",
                ),
                script(3, "echo next"),
                script(4, "echo $WERCKER_RESULT", phase="after"),
            ]
        )
        async with asyncio.timeout(150):
            await session.wait_for(lambda state: state.done([1, 2, 3, 4]))
        # A connection made now finds the socket again, and gets every byte of the logs that are gone.
        async with box.session() as late, asyncio.timeout(150):
            await late.wait_for(lambda state: state.done([1, 2, 3, 4]))
            while sum(map(len, box.logs.values())) < len("first\ncleaned\nnext\npassed\n"):
                await asyncio.sleep(0.01)
        state = await session.close()
    assert [step.reason for step in state.steps.values()] == ["Passed"] * 4
    assert {n: bytes(text) for n, text in box.logs.items()} == {
        1: b"first\n",
        2: b"cleaned\n",
        3: b"next\n",
        4: b"passed\n",
    }


async def test_a_step_that_fails_after_it_emptied_run_keeps_its_code(
    box: Box, shell: list[str]
) -> None:
    state = await box.run(
        f"rm -rf {box.session_dir}/*; exit 7",
        script(2, "echo $WERCKER_RESULT", phase="after"),
        shell=shell,
    )
    assert (state.steps[1].exit, state.steps[1].reason) == (7, "ExitCode")
    assert box.log(2) == b"failed\n"


async def test_a_log_that_was_removed_is_still_uploaded(box: Box, store: Store) -> None:  # noqa: F811
    uploads = {f"log/{n}": Upload(url=f"{store.url}/{n}") for n in (1, 2)}
    state = await box.run(f"echo first; rm -rf {box.session_dir}/*", "echo two", uploads=uploads)
    assert {what: each.state for what, each in state.uploads.items()} == dict.fromkeys(
        uploads, "uploaded"
    )
    assert {put[0].split()[1]: put[2] for put in store.puts} == {"/1": b"first\n", "/2": b"two\n"}


async def test_after_steps_run_where_a_step_removed_everything(box: Box, shell: list[str]) -> None:
    source = box.pipeline / "source"
    state = await box.run(
        f"rm -rf {box.pipeline}/*",
        "echo not reached",
        script(3, 'echo "$WERCKER_RESULT"; pwd', phase="after"),
        shell=shell,
    )
    assert (state.steps[2].exit, state.steps[2].reason) == (1, "ExitCode")
    assert state.steps[2].message.startswith(f"there is no directory {source}, where steps begin")
    assert state.steps[3].passed
    assert box.log(3).decode().splitlines() == [
        f"sentinel: {source} was missing, and is an empty directory now",
        "failed",
        str(source),
    ]


async def test_a_source_dir_that_does_not_exist_is_named(box: Box, shell: list[str]) -> None:
    missing = str(box.pipeline / "source" / "no" / "such")
    state = await box.run("true", shell=shell, source_dir=missing)
    text = f"there is no directory {missing}, where steps begin: correct source-dir in wercker.yml"
    assert state.steps[1].exit == 1 and state.steps[1].message.startswith(text)
    assert text.encode() in box.log(1)


async def test_a_cwd_that_does_not_exist_is_named(box: Box, shell: list[str]) -> None:
    state = await box.run(script(1, "true", cwd="$HOME/no/such"), shell=shell)
    assert state.steps[1].exit == 1
    assert state.steps[1].message == "it cannot begin in its cwd: $HOME/no/such"


WRITER = """
cd {out}/log
n=0
while :; do
  n=$((n+1))
  echo "line $n" >>grows
  echo "line $n" >"spool.$n"; mv "spool.$n" "ready.$((n % 7))"; rm -f "ready.$(((n + 3) % 7))"
  [ $((n % 5)) = 0 ] && : >shrinks || head -c 65536 /dev/zero >>shrinks
done
"""


async def test_output_that_is_still_written_is_stored(
    box: Box,
    store: Store,  # noqa: F811
    shell: list[str],
) -> None:
    out = box.root / "output"
    server = f"serve() {{ {WRITER.format(out=out)} }}; serve >/dev/null 2>&1 & sleep 0.3"
    many = "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo $i >$i; done"
    stable = f"mkdir -p {out}/log {out}/stable; cd {out}/stable; {many}"
    async with box.session() as session:
        await session.open(box.open(shell=shell, limits=AttemptLimits(grace=0.3)))
        await session.start([script(1, stable), script(2, server)])
        await session.wait_for(lambda state: state.done([1, 2]))
        for n in range(5):
            upload = Upload(url=f"{store.url}/{n}")
            await session.collect(Collect(what=f"output{n}", path=str(out), upload=upload))
        state = await session.wait_for(lambda state: len(state.collected) == 5)
        await session.close()
    for each in state.collected.values():
        assert isinstance(each, Collected), each
    for _, _, body in store.puts:
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            names = {m.name for m in archive if m.name.startswith("output/stable/")}
            assert len(names) == 500


def place_for(user: int, boxkit: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A directory that belongs to `user`, and a boxkit that it may run."""
    for each in (tmp_path, *tmp_path.parents):
        if not each.stat().st_mode & 0o001:  # pytest's own, which only root may enter
            each.chmod(0o755)
    root, binary = tmp_path / "user", tmp_path / "boxkit"
    root.mkdir()
    os.chown(root, user, user)
    shutil.copy(boxkit, binary)
    return root, binary


async def test_output_that_the_box_may_not_read_is_named(
    boxkit: Path,
    start: Start,
    tmp_path: Path,
    store: Store,  # noqa: F811
) -> None:
    assert os.geteuid() == 0, "only root can start a box of another user"
    root, binary = place_for(1000, boxkit, tmp_path)
    argv = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
    box = await start(argv=argv, root=root, binary=binary)
    out = root / "output"
    upload = Upload(url=store.url)
    async with box.session() as session:
        await session.open(box.open())
        await session.start(
            [
                script(
                    1,
                    f"mkdir {out}; echo x >{out}/secret; chmod 000 {out}/secret; echo y >{out}/open",
                )
            ]
        )
        await session.wait_for(lambda state: state.done([1]))
        await session.collect(Collect(what="output", path=str(out), upload=upload))
        state = await session.wait_for(lambda state: "output" in state.collected)
        await session.close()
    failed = state.collected["output"]
    assert isinstance(failed, CollectFailed)
    assert (failed.reason, failed.text) == (
        "Unreadable",
        "output/secret: permission denied, for user 1000",
    )
