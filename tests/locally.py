"""`sentinel run` on the lab's Docker Engine, for tests, the benchmark and the soak."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.pipelines import Pipeline
from tests.install import IMAGE, ROOT
from tests.lab.state import Lab

STEPS = ROOT / "tests/steps"
PHASES = {0: "Succeeded", 1: "Failed", 2: "Errored", 3: "Cancelled"}


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A run that has ended: its exit code, the events it printed, and its stderr."""

    code: int
    events: tuple[dict[str, Any], ...]
    errors: str

    @property
    def finished(self) -> dict[str, Any]:
        """The last event; empty where there was none."""
        return self.events[-1] if self.events and self.events[-1]["event"] == "finished" else {}

    @property
    def steps(self) -> list[tuple[str, str]]:
        """(name, state) of every step, in order."""
        return [(each["name"], each["state"]) for each in self.of("ended")]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == event]

    def log(self, step: str) -> str:
        """What a step printed."""
        number = next((each["step"] for each in self.of("ended") if each["name"] == step), 0)
        return "".join(each["text"] for each in self.of("log") if each["step"] == number)


@dataclass(frozen=True, kw_only=True)
class Local:
    """Runs `sentinel run`. `home` is the user's cache directory; `more` are variables beside ours."""

    docker_host: str
    registry: str
    home: Path
    more: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, lab: Lab, home: Path) -> Local:
        return cls(docker_host=lab.docker_host, registry=lab.registry, home=home)

    @property
    def environ(self) -> dict[str, str]:
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith(("SENTINEL_", "X_", "XXX_"))
        }
        return {
            **clean,
            "PYTHONPATH": str(ROOT / "operator"),
            "DOCKER_HOST": self.docker_host,
            "XDG_CACHE_HOME": str(self.home),
            "SENTINEL_IMAGE": IMAGE,
            "SENTINEL_STEPS__REGISTRY": str(STEPS),
            **self.more,
        }

    def start(self, folder: Path, *arguments: str) -> subprocess.Popen[str]:
        """A run that goes on, with JSON on its stdout."""
        return subprocess.Popen(
            [sys.executable, "-m", "sentinel", "run", str(folder), "-o", "json", *arguments],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, folder: Path, *arguments: str) -> Ran:
        with self.start(folder, *arguments) as process:
            return ended(process)

    def docker(self, *arguments: str) -> str:
        done = subprocess.run(
            ["docker", *arguments], env=self.environ, capture_output=True, text=True, check=True
        )
        return done.stdout

    def left(self, run: str) -> list[str]:
        """Containers and volumes of a run that are there."""
        label = f"label=com.wercker.sentinel.run={run}"
        return [
            *self.docker("ps", "-aq", "--filter", label).split(),
            *self.docker("volume", "ls", "-q", "--filter", label).split(),
        ]

    def text(self, text: str) -> str:
        """`text` with the lab's images."""
        return text.format(
            box=f"{self.registry}/box/debian:12",
            redis=f"{self.registry}/service/redis:7",
            registry=self.registry,
        )


def ended(process: subprocess.Popen[str], *, before: str = "") -> Ran:
    """What a run printed until its end; `before` was read already."""
    out, errors = process.communicate(timeout=400)
    events = tuple(json.loads(line) for line in (before + out).splitlines())
    return Ran(code=process.returncode, events=events, errors=errors)


def until(process: subprocess.Popen[str], event: str, **fields: object) -> str:
    """Read a run's stdout up to that event; what was read."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        known = json.loads(line)
        if known["event"] == event and fields.items() <= known.items():
            return read
    raise AssertionError(f"no event {event} {fields}: {read}")


def interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)


def project(folder: Path, text: str, files: Mapping[str, str]) -> Path:
    """A repository with that wercker.yml, as `Builds.project` makes one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"wercker.yml": text, "README.md": "A project.\n", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "First"]):
        subprocess.run(["git", *identity, *command], cwd=folder, check=True, capture_output=True)
    return folder


def difference(local: Local, folder: Path, each: Pipeline) -> object:
    """What `sentinel run` makes of a pipeline if it is not what a cluster makes of it; None if it is.

    Phase, states of steps and logs, to the byte.
    """
    variables = "".join(f"X_{v['name']}={v['value']}\n" for v in each.spec.get("env", ()))
    root = project(folder, local.text(each.text), each.files)
    env_file = folder.with_name(f"{folder.name}.env")
    env_file.write_text(variables)
    arguments = [f"--env-file={env_file}", f"--pipeline={each.spec.get('pipeline', 'build')}"]
    if target := each.spec.get("deployTarget"):
        arguments.append(f"--deploy-target={target}")
    ran = local.run(root, *arguments)
    states = dict(ran.steps)
    logs = [(name, ran.log(name)) for name, _ in each.says if states.get(name) != "Skipped"]
    found = (PHASES.get(ran.code), logs, each.states and tuple(states.values()))
    told = ran.finished.get("message", ran.errors)
    right = found == (each.phase, list(each.says), each.states) and each.message in told
    return None if right else (told, found)
