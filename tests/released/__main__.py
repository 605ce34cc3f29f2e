"""Write the fixtures of a release: `python -m tests.released 0.2`, once, on the commit that is released.

Plans as they stand in a pod, with every field as this release understands it, journals of its boxkit, and ImageCommits.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from sentinel.plan.codec import encode
from sentinel.plan.model import EnvSource, Plan, PlanImage, PlanSource, PlanStep, Variable
from sentinel.session.client import Session
from tests.boxkit.conftest import ROOT, Box, script
from tests.unit.plan.examples import plan

SMALL = "box: debian:12\nbuild:\n  steps:\n    - script: {code: make}\n"
STEP = PlanStep(
    ordinal=9,
    id="greet-9",
    owner="wercker",
    name="greet",
    display_name="greet",
    phase="main",
    kind="step",
    version="1.2.0",
    digest="d" * 64,
    exports=(("WERCKER_GREET_NAME", "$USER"),),
    command_timeout=1500,
    no_response_timeout=300,
)


def plans() -> dict[str, Plan]:
    """A plan with as little as possible, one with every kind of value, and one of an archive's second attempt."""
    whole = plan()
    return {
        "small": plan(yml=SMALL, services=()),
        "full": replace(
            whole,
            user="1000:1000",
            entrypoint=("/entry",),
            steps=(*whole.steps, STEP),
            variables=(
                Variable(name="A", value="$(B)"),
                Variable(name="S", secret=("tokens", "api"), optional=True),
                Variable(name="C", config_map=("cm", "k")),
                EnvSource(kind="secret", name="all", prefix="P_"),
            ),
            image=PlanImage(
                commit="end",
                repository="registry.example.com/acme/app",
                push_secret="push",
                pull_secrets=("pull",),
                exclude_paths=("/root/.npmrc",),
            ),
            source=replace(whole.source, secret="git", submodules=True),
            ignore_file=".werckerignore",
        ),
        "archive": replace(
            plan(source=PlanSource(url="https://files.example.com/a.tar.gz", digest="e" * 64)),
            attempt=2,
            deploy=True,
            results_prefix="r/2/",
        ),
    }


async def passed(session: Session, box: Box) -> None:
    await session.start([script(1, "echo hi"), script(2, "true")])
    await session.wait_for(lambda state: state.done([1, 2]))
    await session.start([script(3, "echo $WERCKER_RESULT", phase="after")])
    await session.wait_for(lambda state: state.done([3]))
    await session.close()


async def failed(session: Session, box: Box) -> None:
    why = 'echo why >"$WERCKER_REPORT_MESSAGE_FILE"; exit 3'
    await session.start([script(1, why), script(2, "true")])
    await session.wait_for(lambda state: state.done([1, 2]))
    await session.close()


async def cancelled(session: Session, box: Box) -> None:
    await _running(session)
    await session.cancel("spec.cancel was set")
    await session.wait_for(lambda state: state.done([1, 2]))
    await session.close()


async def terminated(session: Session, box: Box) -> None:
    await _running(session)
    box.process.send_signal(signal.SIGTERM)
    await session.wait_for(lambda state: state.closed is not None)


async def _running(session: Session) -> None:
    await session.start([script(1, "sleep 100"), script(2, "true")])
    await session.wait_for(lambda state: 1 in state.steps and state.steps[1].state == "running")


async def journal(boxkit: Path, drive: Callable[[Session, Box], Awaitable[None]]) -> str:
    """The journal of a box that was driven so."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "session").mkdir()
        process = await asyncio.create_subprocess_exec(
            boxkit,
            "init",
            env={**os.environ, "SENTINEL_SESSION_DIR": f"{root}/session"},
            stdout=subprocess.DEVNULL,
        )
        box = Box(process=process, root=root)
        async with box.session() as session:
            await session.open(box.open())
            await drive(session, box)
        await process.wait()
        return (root / "session" / "journal").read_text().rstrip("\0").replace(folder, "")


def image_commits() -> dict[str, Any]:
    """One that succeeded and one that failed; what they ask for is the same."""
    spec = {
        "nodeName": "node-1",
        "podName": "hello-42-6f0d3a52-1",
        "podUid": "0f1e2d3c-0000-4000-8000-000000000000",
        "containerName": "box",
        "containerId": "containerd://" + "b" * 64,
        "repository": "registry.example.com/acme/app",
        "tags": ["6f0d3a52-9b1c-4e7e-8a55-3d2f10c4b7aa", "green", "latest"],
        "config": {"labels": {"com.wercker.result": "passed"}},
        "baseImage": "docker.io/library/debian@sha256:" + "a" * 64,
        "pullSecretRefs": [{"name": "pull"}],
        "pushSecretRef": {"name": "push"},
        "excludePaths": ["/root/.npmrc"],
        "deadline": "2026-11-28T10:00:00Z",
    }
    tags = [{"name": "green", "pushed": True}, {"name": "latest", "message": "denied"}]
    return {
        name: {
            "apiVersion": "sentinel.wercker.com/v1alpha1",
            "kind": "ImageCommit",
            "metadata": {"name": "hello-42-6f0d3a52-1", "namespace": "team"},
            "spec": spec,
            "status": status,
        }
        for name, status in {
            "succeeded": {"phase": "Succeeded", "digest": "sha256:" + "c" * 64, "tags": tags},
            "failed": {"phase": "Failed", "reason": "PushRefused", "message": "403"},
        }.items()
    }


def _build() -> Path:
    boxkit = ROOT / "build" / "boxkit"
    subprocess.run(
        ["go", "build", "-trimpath", "-o", boxkit, "."],
        cwd=ROOT / "operator" / "boxkit",
        env={**os.environ, "CGO_ENABLED": "0"},
        check=True,
    )
    return boxkit


async def main(release: str) -> None:
    out = Path(__file__).parent / release
    out.mkdir()
    adapter = TypeAdapter(Plan)
    for name, each in plans().items():
        (out / f"plan-{name}.txt").write_text(encode(each) + "\n")
        (out / f"plan-{name}.json").write_bytes(adapter.dump_json(each, indent=1) + b"\n")
    boxkit = await asyncio.to_thread(_build)
    for drive in (passed, failed, cancelled, terminated):
        (out / f"journal-{drive.__name__}.jsonl").write_text(await journal(boxkit, drive))
    for name, raw in image_commits().items():
        (out / f"imagecommit-{name}.json").write_text(json.dumps(raw, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
