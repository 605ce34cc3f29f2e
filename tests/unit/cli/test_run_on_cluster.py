"""`sentinel run --cluster`: the Build that is made of a directory, and how the directory gets to its pod."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import signal
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import Cluster, Sentinel, ended
from tests.unit.fakeapi import Json

from sentinel.cli import runcluster, upload, wait, watch
from sentinel.errors import SentinelError
from sentinel.kube.client import Kube
from sentinel.kube.errors import Forbidden, Unavailable
from sentinel.kube.exec import Cut, Exited
from sentinel.kube.resources import Resource
from sentinel.local.pack import pack
from sentinel.local.project import read_project
from sentinel.plan.names import SOURCE

YML = "box: debian:12\nbuild:\n  steps:\n    - script: {code: 'true'}\n"


class Receiver:
    """An exec stream whose command takes `size` bytes and ends with 0; `behaves` may do otherwise."""

    def __init__(self, fleet: Fleet, size: int, behaves: Callable[[], Any] | None) -> None:
        self.ending: Cut | Exited | None = None
        self.stderr = b""
        self._fleet, self._size, self._behaves = fleet, size, behaves
        self._taken = b""
        self._over = asyncio.Event()

    async def write(self, data: bytes) -> None:
        if self.ending is not None:
            raise Unavailable("the stream has ended")
        if self._behaves is not None:
            self.ending = self._behaves()
            if isinstance(self.ending, Exited):
                self.stderr = b"sentinel receive: no room"
            self._over.set()
            return
        self._taken += data
        if len(self._taken) >= self._size:
            self.ending = Exited(0)
            self._fleet.received.append(self._taken)
            self._fleet.arrived()
            self._over.set()

    async def read(self) -> bytes:
        await self._over.wait()
        return b""

    async def close(self) -> None:
        pass


class Fleet(Cluster):
    """A cluster with an operator that gives a Build a pod, and ends it when its directory has arrived.

    `behaviours` are those of the next receivers; `status` is that of the Build at its end, {} for one that runs on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.received: list[bytes] = []
        self.behaviours: list[Callable[[], Any]] = []
        self.refusal: SentinelError | None = None
        self.status = ended("Succeeded", "Passed")
        self.lose = 0
        """Pods that are lost after the directory has arrived."""
        self._pod = 0

    async def create(self, resource: Resource, body: Json, *, namespace: str | None = None) -> Json:
        made = await super().create(resource, body, namespace=namespace)
        if resource.plural == "builds":
            self._start(body["metadata"]["name"])
        return made

    async def patch(self, resource: Resource, *, name: str, body: Any, **words: Any) -> Json:
        done = await super().patch(resource, name=name, body=body, **words)
        if body.get("spec", {}).get("cancel"):
            self.change("builds", name, status=ended("Cancelled", "Cancelled"))
        return done

    def _start(self, build: str) -> None:
        self._pod += 1
        pod = f"{build}-{self._pod}"
        running = {"name": SOURCE, "containerID": f"containerd://{pod}", "state": {"running": {}}}
        self.add(
            "pods",
            {
                "metadata": {"name": pod, "namespace": "team"},
                "status": {"initContainerStatuses": [running]},
            },
        )
        self.change("builds", build, status={"pod": {"name": pod, "attempt": self._pod}})

    def arrived(self) -> None:
        (name,) = self.objects["builds"]
        if self.lose:
            self.lose -= 1
            self._start(name)
        elif self.status:
            self.change("builds", name, status=self.status)

    async def exec(self, *, pod: str, **words: Any) -> Any:
        assert (words["container"], words["command"]) == (SOURCE, upload.COMMAND)
        if self.refusal is not None:
            raise self.refusal
        (build,) = self.objects["builds"].values()
        behaves = self.behaviours.pop(0) if self.behaviours else None
        return Receiver(self, build["spec"]["source"]["upload"]["size"], behaves)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    made = Fleet()

    async def connect(*, user_agent: str) -> Fleet:
        return made

    async def print_logs(name: str, namespace: str, *, follow: bool) -> None:
        """The log of a Build that prints nothing."""
        while not made.find("builds", name)["status"].get("completionTime"):
            await asyncio.sleep(0)

    monkeypatch.setattr(Kube, "connect", connect)
    monkeypatch.setattr(watch, "print_logs", print_logs)
    for module in (wait, upload):
        monkeypatch.setattr(module, "LOOK_EVERY", 0.0)
    return made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    (root / "lib").mkdir(parents=True)
    (root / "wercker.yml").write_text(YML)
    (root / "lib/code").write_text("x = 1\n")
    (root / "junk").write_text("junk")
    (root / ".werckerignore").write_text("junk\n")
    return root


def the_build(fleet: Fleet) -> Json:
    (build,) = fleet.objects["builds"].values()
    return build


def test_the_directory_becomes_a_build_whose_result_is_the_exit_code(
    fleet: Fleet, sentinel: Sentinel, project: Path
) -> None:
    done = sentinel("run", str(project), "--cluster", "--pipeline", "build")
    assert done.exit_code == 0, done.output
    build = the_build(fleet)
    name = build["metadata"]["name"]
    (data,) = fleet.received
    assert name.startswith("shop-") and build["metadata"]["namespace"] == "team"
    assert build["spec"] == {
        "pipeline": "build",
        "source": {"upload": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}},
        "config": YML,
        "application": {"name": "shop"},
        "env": [],
        "image": {"commit": "never"},
        "cache": {"readOnly": True},
    }
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = [each.name for each in tar if each.isreg()]
    assert files == [".werckerignore", "lib/code", "wercker.yml"]
    assert done.stdout == ""
    assert done.stderr.splitlines()[1:] == [
        f"sentinel: Build {name} created in namespace team",
        f"Build {name}: Succeeded in 42s",
    ]
    assert "secrets" not in fleet.objects


@pytest.mark.parametrize(
    ("phase", "code"), [("Failed", 1), ("Errored", 2), ("Cancelled", 3), ("Succeeded", 0)]
)
def test_exit_codes(fleet: Fleet, sentinel: Sentinel, project: Path, phase: str, code: int) -> None:
    fleet.status = ended(phase, "ExitCode" if phase == "Failed" else phase)
    done = sentinel("run", str(project), "--cluster", "--name", "mine", "--no-cache")
    assert done.exit_code == code
    assert the_build(fleet)["metadata"]["name"] == "mine"
    assert the_build(fleet)["spec"]["cache"] == {"enabled": False}


def test_protected_variables_are_in_a_secret_of_the_build_only(
    fleet: Fleet, sentinel: Sentinel, project: Path, tmp_path: Path
) -> None:
    file = tmp_path / "vars"
    file.write_text("X_PUBLIC=yes\nXXX_TOKEN=s3cr3t-value\n")
    done = sentinel("run", str(project), "--cluster", "--name", "mine", "--env-file", str(file))
    assert done.exit_code == 0, done.output
    build, (secret,) = the_build(fleet), fleet.objects["secrets"].values()
    assert build["spec"]["env"] == [
        {"name": "PUBLIC", "value": "yes"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "mine-env", "key": "TOKEN"}}},
    ]
    assert secret["metadata"]["name"] == "mine-env"
    assert secret["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "sentinel.wercker.com/v1alpha1",
            "kind": "Build",
            "name": "mine",
            "uid": build["metadata"]["uid"],
        }
    ]
    assert "s3cr3t-value" not in json.dumps(build) + done.output


def test_a_secret_without_its_build_is_not_left(
    fleet: Fleet, sentinel: Sentinel, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "vars").write_text("XXX_TOKEN=s3cr3t-value\n")
    fleet.fail("create", "mine", Forbidden("no builds here", status=403))
    words = ("run", str(project), "--cluster", "--name", "mine")
    done = sentinel(*words, "--env-file", str(tmp_path / "vars"))
    assert done.exit_code == 2
    assert "no builds here" in done.stderr
    assert fleet.objects["secrets"] == {}


@pytest.mark.parametrize(
    ("behaves", "why"),
    [
        (lambda: Cut("a proxy went away"), "the connection was cut: a proxy went away"),
        (lambda: Exited(1), "sentinel receive: no room"),
    ],
)
def test_a_cut_connection_is_tried_again(
    fleet: Fleet, sentinel: Sentinel, project: Path, behaves: Callable[[], Any], why: str
) -> None:
    fleet.behaviours = [behaves, behaves]
    done = sentinel("run", str(project), "--cluster")
    assert done.exit_code == 0, done.output
    assert len(fleet.received) == 1
    assert done.stderr.count(f"the directory was not sent, trying again: {why}") == 1


def test_the_pod_of_another_attempt_gets_it_as_well(
    fleet: Fleet, sentinel: Sentinel, project: Path
) -> None:
    fleet.lose = 1
    done = sentinel("run", str(project), "--cluster")
    assert done.exit_code == 0, done.output
    first, second = fleet.received
    assert first == second


def test_a_user_who_may_not_exec_is_not_left_with_a_build_that_waits(
    fleet: Fleet, sentinel: Sentinel, project: Path
) -> None:
    fleet.refusal = Forbidden("pods/exec is forbidden", status=403)
    done = sentinel("run", str(project), "--cluster")
    assert done.exit_code == 3
    assert "cancelling the build: pods/exec is forbidden" in done.stderr
    assert "`create` and `get` on pods/exec" in done.stderr
    assert the_build(fleet)["spec"]["cancel"] is True


def test_an_interrupt_cancels_the_build(fleet: Fleet, sentinel: Sentinel, project: Path) -> None:
    def interrupt() -> Cut:
        signal.raise_signal(signal.SIGINT)
        return Cut("interrupted")

    fleet.behaviours, fleet.status = [interrupt], {}
    done = sentinel("run", str(project), "--cluster")
    assert done.exit_code == 3, done.output
    assert the_build(fleet)["spec"]["cancel"] is True
    assert "cancelling the build" in done.stderr


def test_what_is_wrong_with_the_directory_is_found_before_anything_is_created(
    fleet: Fleet, sentinel: Sentinel, project: Path
) -> None:
    (project / "wercker.yml").write_text("box: debian:12\nbuild: {steps: {}}\n")
    assert sentinel("run", str(project), "--cluster").exit_code == 1
    (project / "wercker.yml").write_text(YML)
    missing = sentinel("run", str(project), "--cluster", "--pipeline", "deploy")
    assert missing.exit_code == 1
    assert "has no pipeline deploy" in missing.stderr
    (project / "wercker.yml").write_text(YML + "#" * runcluster.MOST_CONFIG)
    assert "256 KiB" in sentinel("run", str(project), "--cluster").stderr
    (project / "wercker.yml").unlink()
    assert "sentinel detect" in sentinel("run", str(project), "--cluster").stderr
    assert fleet.created == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--cluster", "--step", "x", "--pull"),
            "--step, --pull cannot be combined with --cluster",
        ),
        (("--cluster", "-o", "json"), "--output cannot be combined with --cluster"),
        (("-n", "team"), "--namespace needs --cluster"),
        (("--name", "x"), "--name needs --cluster"),
    ],
)
def test_options_of_the_other_way_to_run_are_refused(
    fleet: Fleet, sentinel: Sentinel, project: Path, words: tuple[str, ...], message: str
) -> None:
    done = sentinel("run", str(project), *words)
    assert (done.exit_code, message in done.stderr) == (2, True)
    assert fleet.created == []


def test_a_directory_that_is_too_large_is_refused_before_all_of_it_is_packed(project: Path) -> None:
    with pytest.raises(SentinelError, match=r"leave files out with \.werckerignore"):
        pack(read_project(project), io.BytesIO(), most=100)


NOBODY = ("-c", "user.name=x", "-c", "user.email=x@example.com")


def test_a_repository_names_the_application_and_its_credentials_stay_here(
    project: Path, fleet: Fleet, sentinel: Sentinel
) -> None:
    words = [
        ("init", "-q"),
        ("remote", "add", "origin", "https://user:pass@git.example.com/acme/web.git"),
    ]
    for each in words:
        subprocess.run(["git", "-C", str(project), *each], check=True)
    secret = "https://user:pass@git.example.com/acme/other.git"
    inner = project / "vendor/other"
    for folder in (project, inner):
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        (folder / ".git/logs").mkdir(exist_ok=True)
        (folder / ".git/logs/HEAD").write_text(f"pull {secret}: Fast-forward\n")
    subprocess.run(["git", "-C", str(inner), "remote", "add", "origin", secret], check=True)
    (inner / "config").write_text("kept\n")
    subprocess.run(
        ["git", "-C", str(inner), *NOBODY, "commit", "-q", "--allow-empty", "-m", "one"], check=True
    )
    worktree = project / ".git/worktrees/it"
    worktree.mkdir(parents=True)
    (worktree / "config.worktree").write_text(f"[remote]\nurl = {secret}\n")
    assert sentinel("run", str(project), "--cluster").exit_code == 0
    assert the_build(fleet)["spec"]["application"] == {"name": "web", "owner": "acme"}
    with tarfile.open(fileobj=io.BytesIO(fleet.received[0])) as tar:
        names = tar.getnames()
        texts = [(each.name, tar.extractfile(each)) for each in tar if each.isreg()]
        leaks = [name for name, file in texts if file is not None and b"user:pass" in file.read()]
    assert leaks == []
    assert {".git/HEAD", "vendor/other/.git/HEAD", "vendor/other/config"} <= set(names)


def test_an_uploaded_build_is_not_retried_without_its_directory(
    fleet: Fleet, sentinel: Sentinel
) -> None:
    fleet.build(
        spec={"source": {"upload": {"sha256": "d" * 64, "size": 7}}, "config": YML},
        status=ended("Errored", "NodeLost"),
    )
    done = sentinel("retry", "hello")
    assert done.exit_code == 1
    assert "`sentinel run --cluster -n team` in the directory runs it again" in done.stderr
    assert "sentinel run --cluster -n team" in sentinel("describe", "hello").stdout
    assert fleet.created == []
