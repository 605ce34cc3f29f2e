"""Runs a Plan in the real boxkit, as an ordinary process on a copy-on-write view of this machine's files.

Steps write where they write in a box (/etc/ssh, ~/.ssh, /pipeline), and nothing of it stays. Scripts are not run: each
is `true`. Tools are those of `tools`, and HTTP goes to a stub.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import posixpath
import re
import shlex
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sentinel.engine.boxsteps import step_spec
from sentinel.engine.dockerbuild import ImageBuild, buildctl_words, read_build
from sentinel.engine.dockerpush import read_push
from sentinel.engine.properties import wants_sync
from sentinel.errors import UserError
from sentinel.image.reference import parse_reference
from sentinel.layout import OUTPUT_DIR, PIPELINE_DIR, REPORT_DIR
from sentinel.plan.environment import resolve
from sentinel.plan.internal import DOCKER_BUILD, SCRATCH
from sentinel.plan.interpolate import interpolate
from sentinel.plan.model import Plan, PlanStep
from sentinel.session.client import Session
from sentinel.session.messages import Copy, Open, Result, StepSpec
from sentinel.source.shipped import place
from tests.boxkit.conftest import Box
from tests.corpus.values import PROJECT, STUB
from tests.standard.conftest import HttpStub, Request

_VIEW = """
set -e
root="$1" && shift
view="$root/view"
mkdir "$view"
mount -t tmpfs none "$view"
mkdir "$view/upper" "$view/work" "$view/root"
mount -t overlay none -o "lowerdir=/,upperdir=$view/upper,workdir=$view/work" "$view/root"
for each in /dev /proc /sys; do mount --rbind "$each" "$view/root$each"; done
for each in "$root" "$CORPUS_TOOLS" "$SENTINEL_KIT_DIR"; do
    mkdir -p "$view/root$each"
    mount --rbind "$each" "$view/root$each"
done
mkdir -p "$view/root/home/box" "$view/root/etc/ssh" "$view/root/rails"
printf 'ID=debian\\nVERSION_CODENAME=bookworm\\n' > "$view/root/etc/os-release"
chroot="$(PATH="$PATH:/usr/sbin:/sbin" command -v chroot)"
exec "$chroot" "$view/root" "$@"
"""

_FOR_TOOLS = re.compile(
    r"(npm_config_\w+|yarn_\w+|BUNDLE_\w+|PIP_\w+|COMPOSER_\w+|GO111MODULE|KUBECONFIG|MAVEN_OPTS|GIT_ASKPASS"
    r"|DEBIAN_FRONTEND|MONGOID_ENV)=",
    re.IGNORECASE,
)
"""Variables by which steps speak to their tools, besides arguments."""


@dataclass
class Ran:
    """What became of a pipeline. `failed` names the steps that did not pass, with their messages; `does` what each
    standard and internal step did, as JSON."""

    failed: dict[str, str] = field(default_factory=dict)
    does: list[dict[str, Any]] = field(default_factory=list)
    log: str = ""


async def run_plan(plan: Plan, *, work: Path, kit: Path, tools: Path) -> Ran:
    """Run all steps of a Plan in an empty directory `work`."""
    work.mkdir(parents=True)
    for path, text in PROJECT.items():
        file = work / "source" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (work / "calls").mkdir()
    for step in plan.steps:
        if step.kind == "step":
            place(step.name, str(work / "steps" / step.id))
    stub = HttpStub()
    stub.answer('{"id": 7, "upload_url": "unused"}')
    store = HttpStub()
    store.answer("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
    try:
        async with _box(plan, work=work, kit=kit, tools=tools) as box:
            return await _run(plan, box, stub, store)
    finally:
        stub.close()
        store.close()


@asynccontextmanager
async def _box(plan: Plan, *, work: Path, kit: Path, tools: Path) -> AsyncIterator[Box]:
    ruby = re.fullmatch(r"ruby:([0-9.]+).*", plan.box.name)
    env = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "HOME": "/home/box",
        "GOPATH": "/go",
        "JAVA_HOME": "/usr/lib/jvm",
        "RUBY_VERSION": ruby[1] if ruby else "2.3",
        "CORPUS_CALLS": str(work / "calls"),
        "CORPUS_TOOLS": str(tools),
        "SENTINEL_SESSION_DIR": str(work / "session"),
        "SENTINEL_KIT_DIR": str(kit),
        "SENTINEL_CGROUP_DIR": str(work / "cgroup"),
    }
    namespace = ["unshare", "--mount", "--propagation", "private"]
    with (work / "stdout").open("wb") as stdout:
        process = await asyncio.create_subprocess_exec(
            *namespace,
            "sh",
            "-c",
            _VIEW,
            "sh",
            str(work),
            str(kit / "boxkit"),
            "init",
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
        )
    try:
        yield Box(process=process, root=work)
        # Killed at its end, it would leave children that still write into `work`, which is removed next.
        async with asyncio.timeout(150):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _run(plan: Plan, box: Box, stub: HttpStub, store: HttpStub) -> Ran:
    env = dict(resolve(plan.variables, secrets={}, config_maps={}).env)
    env = {name: value.replace(STUB, stub.url) for name, value in env.items()}
    env |= {
        "GITHUB_API_URL": stub.url,
        "GITHUB_UPLOADS_URL": stub.url,
        "AWS_ENDPOINT_URL": store.url,
        "WERCKER_BOXKIT": str(_kit(box) / "boxkit"),
    }
    places = _places(plan, env)
    ran = Ran()
    pushes: dict[int, dict[str, Any]] = {}
    async with box.session() as session:
        await session.open(
            Open(
                build=plan.uid,
                attempt=plan.attempt,
                env=tuple(env.items()),
                shell=("/usr/bin/dash",) if plan.shell else (),
                source_dir=plan.source_dir,
                pipeline_dir=PIPELINE_DIR,
                report_dir=REPORT_DIR,
                dirs=(PIPELINE_DIR, OUTPUT_DIR, *places),
                copies=[
                    Copy(source=str(box.root / "source"), target=each)
                    for each in (plan.base_path, *places)
                    if each == plan.base_path or not each.startswith(f"{plan.base_path}/")
                ],
            )
        )
        main = [step for step in plan.steps if step.phase == "main"]
        after = [step for step in plan.steps if step.phase == "after"]
        await session.start([_spec(step, box) for step in main])
        for step in main:
            if step.kind == "operator":
                await _image(plan, session, step, pushes, env)
        state = await session.wait_for(lambda state: state.done(each.ordinal for each in main))
        exports = _exports(plan, env, dict(await session.environment())) if main else {}
        if after:
            await session.start(
                [_spec(step, box) for step in after], result=Result(result="passed")
            )
            state = await session.wait_for(lambda state: state.done(each.ordinal for each in after))
        wrote = _written(box)
        state = await session.close()
    for step in plan.steps:
        known = state.steps[step.ordinal]
        if not known.passed:
            text = known.message or str(known.reason)
            ran.failed[f"{step.name} ({step.ordinal})"] = text
            if known.state == "finished":
                ran.log += box.log(step.ordinal).decode(errors="replace")
    calls = _calls(box)
    for step in plan.steps:
        if step.ordinal in pushes:
            ran.does.append({"step": f"internal/{step.name}", **pushes[step.ordinal]})
        elif step.kind == "step":
            did = {"step": f"{step.owner}/{step.name}", "calls": calls.pop(step.id, [])}
            ran.does.append({key: value for key, value in did.items() if value})
    requests = [_request(each) for each in (*stub.requests, *store.requests)]
    left = {"requests": requests, "exports": exports, "files": wrote}
    if ran.does:
        ran.does += [{key: value} for key, value in left.items() if value]
    plain = json.dumps(ran.does).replace(stub.url, STUB).replace(store.url, STUB)
    plain = plain.replace(f"{box.root}/session", "$SESSION").replace(f"{_tools(box)}/", "$TOOLS/")
    ran.does = json.loads(re.sub(r"ssh-key-[A-Za-z0-9]{6}", "ssh-key", plain))
    return ran


def _places(plan: Plan, env: Mapping[str, str]) -> list[str]:
    """Where steps begin: the project has them, or one of its scripts would have made them."""
    found = (interpolate(step.cwd, public=env, where="cwd") for step in plan.steps if step.cwd)
    return [str(Path(plan.source_dir, each)) for each in found]


def _kit(box: Box) -> Path:
    return box.root.parent / "kit"


def _tools(box: Box) -> Path:
    return box.root.parent / "tools"


def _spec(step: PlanStep, box: Box) -> StepSpec:
    spec = step_spec(step)
    if step.kind == "step":
        return replace(spec, dir=str(box.root / "steps" / step.id))
    return replace(spec, code="true") if step.kind == "script" else spec


async def _image(
    plan: Plan,
    session: Session,
    step: PlanStep,
    pushes: dict[int, dict[str, Any]],
    env: Mapping[str, str],
) -> None:
    """What the operator does while the box waits, without an agent and without BuildKit."""
    state = await session.wait_for(
        lambda state: step.ordinal in state.steps and state.steps[step.ordinal].state != "queued"
    )
    if state.steps[step.ordinal].done:
        return
    try:
        properties = dict(step.properties)
        environment = dict(await session.environment()) if wants_sync(properties) else env
        if step.name == DOCKER_BUILD:
            pushes[step.ordinal] = _built(plan, read_build(properties, environment))
            await session.verdict(step.ordinal, exit_code=0, message="built")
            return
        push = read_push(properties, environment, scratch=step.name == SCRATCH)
        if push.built and push.built not in [each.get("image") for each in pushes.values()]:
            raise UserError(f"no earlier step built {push.built}")
    except UserError as error:
        await session.verdict(step.ordinal, exit_code=1, message=error.message)
        return
    config = push.config.model_dump(exclude_defaults=True)
    if "author" in config:
        config["author"] = "somebody"
    pushes[step.ordinal] = {
        **({"directories": plan.scratch_directories} if step.name == SCRATCH else {}),
        **({"built": push.built} if push.built else {}),
        "repository": push.target.name,
        "tags": list(push.tags),
        "config": config,
        "login": push.login is not None,
    }
    await session.verdict(step.ordinal, exit_code=0, message="pushed")


def _built(plan: Plan, build: ImageBuild) -> dict[str, Any]:
    """The call of buildctl, and the hosts that it gets a login for."""
    target = parse_reference("registry.example.com/builds/app:built")
    words = buildctl_words(
        build, target=target, context="$CONTEXT", namespace=plan.namespace, insecure=False
    )
    return {
        "image": build.name,
        "context": posixpath.normpath(posixpath.join(plan.base_path, build.context)),
        "calls": [shlex.join(["buildctl", *words])],
        "logins": sorted(each.host for each in build.logins.entries),
    }


def _calls(box: Box) -> dict[str, list[Any]]:
    """All calls of tools as a shell would take them, by the step that made them. What the tool found is beside it."""
    found: dict[str, list[Any]] = {}
    for each in sorted((box.root / "calls").iterdir()):
        words = (each / "argv").read_text().split("\0")[:-1]
        env = (each / "env").read_text().split("\0")
        call: Any = shlex.join([*sorted(pair for pair in env if _FOR_TOOLS.match(pair)), *words])
        if (each / "kubeconfig").exists():
            call = {call: json.loads((each / "kubeconfig").read_text())}
        elif (each / "tree").exists():
            tree = {path.removeprefix("./") for path in (each / "tree").read_text().splitlines()}
            call = {call: _short(tree)}
        found.setdefault((each / "step").read_text(), []).append(call)
    return found


def _short(tree: set[str]) -> list[str]:
    whole = tree & PROJECT.keys()
    return sorted(tree - PROJECT.keys()) + (["the project"] if len(whole) > 9 else sorted(whole))


def _exports(plan: Plan, before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Variables that the main steps left for later ones, their own options aside."""
    options = {name for step in plan.steps for name, _ in step.exports}
    return {
        name: value
        for name, value in after.items()
        if name not in options
        and before.get(name) != value
        and not name.startswith(("WERCKER_STEP_", "WERCKER_REPORT_", "CORPUS_", "SENTINEL_"))
        and name not in _STARTED_WITH
    }


_STARTED_WITH = {
    "PATH",
    "HOME",
    "GOPATH",
    "JAVA_HOME",
    "RUBY_VERSION",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
}


def _written(box: Box) -> dict[str, str]:
    """Files that steps left in the box and what is in them, those of the session and the source itself aside."""
    inside = Path(f"/proc/{box.process.pid}/root{box.root}/view/upper")
    found = {}
    for folder, _, names in os.walk(inside):
        for name in names:
            file = Path(folder) / name
            path = "/" + str(file.relative_to(inside))
            if _NOT_LEFT.search(path) or any(path.endswith(f"/{each}") for each in PROJECT):
                continue
            found[path] = file.read_text(errors="replace")
    return found


_NOT_LEFT = re.compile(
    r"^/(proc|sys|dev|run|tmp|report)/|/os-release$|^/pipeline/[a-z0-9_-]+-[0-9a-f]{8}/"
)


def _request(request: Request) -> dict[str, Any]:
    """What a stub got, as far as a server cares, without who asked."""
    headers = {name.title(): value for name, value in request.headers.items()}
    kind = headers.get("Content-Type", "")
    body: Any = request.body.decode(errors="replace")
    if "json" in kind:
        body = json.loads(body)
    elif "gzip" in kind:
        with tarfile.open(fileobj=io.BytesIO(request.body)) as archive:
            body = _short({each.name.removeprefix("./") for each in archive if each.isfile()})
    found: dict[str, Any] = {f"{request.method} {request.path}": body}
    kept = {name: headers[name] for name in ("Content-Type", "X-Amz-Acl") if name in headers}
    return found | ({"headers": kept} if kept else {})
