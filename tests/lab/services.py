"""The servers beside the cluster: a registry, a git server, an S3 server.

They run on this machine and listen on its address on the nodes' network alone, so that pods,
nodes and this machine reach each by one name, and nobody else does.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.lab import hosts
from tests.lab.daemon import Daemon
from tests.lab.gobuild import VERSITYGW, build
from tests.lab.shell import stage
from tests.lab.state import CACHE, GIT_PORT, NAMES, REGISTRY_PORT, S3_PORT, STATE

REGISTRY = Daemon(name="registry")
GIT = Daemon(name="git")
S3 = Daemon(name="s3")
PORTS = {REGISTRY: REGISTRY_PORT, GIT: GIT_PORT, S3: S3_PORT}

REGISTRY_ROOT = STATE / "registry"
REGISTRY_SEED = CACHE / "registry"
"""A registry's storage with the lab's own images in it, copied into every new lab."""
GIT_ROOT = STATE / "git"
S3_ROOT = STATE / "s3"
BUCKET = "sentinel"


@dataclass(frozen=True, kw_only=True)
class Login:
    """A fixed name and secret: they guard nothing, tests only need that they are asked for."""

    name: str
    secret: str


GIT_LOGIN = Login(name="builder", secret="lab-git-password")
S3_LOGIN = Login(name="labaccesskey", secret="lab-s3-secret-key")


def start(address: str) -> None:
    """Start the servers on `address` and make their names known on this machine."""
    with stage("start the registry, git and S3 servers"):
        hosts.add(address, NAMES)
        _start_registry(address)
        _start_git(address)
        _start_s3(address)
        for daemon, port in PORTS.items():
            daemon.expect(partial(_listens, address, port), seconds=20)


def alive() -> bool:
    """Whether every server still runs."""
    return all(daemon.pid() is not None for daemon in PORTS)


def stop() -> None:
    """Stop the servers and forget their names."""
    for daemon in PORTS:
        daemon.stop()
    hosts.remove()


def _start_registry(address: str) -> None:
    if REGISTRY_SEED.exists() and not REGISTRY_ROOT.exists():
        shutil.copytree(REGISTRY_SEED, REGISTRY_ROOT, symlinks=True)
    REGISTRY_ROOT.mkdir(parents=True, exist_ok=True)
    settings = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": False}},
        "storage": {
            "filesystem": {"rootdirectory": str(REGISTRY_ROOT)},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"{address}:{REGISTRY_PORT}"},
    }
    config = STATE / "registry.yml"
    config.write_text(json.dumps(settings))  # JSON is YAML.
    REGISTRY.start(["docker-registry", "serve", config], env={"OTEL_TRACES_EXPORTER": "none"})


def _start_git(address: str) -> None:
    for name in ("public", "private"):
        (GIT_ROOT / name).mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "tests.lab.gitserver", "--address", address]
    argv += ["--port", str(GIT_PORT), "--root", str(GIT_ROOT)]
    checkout = str(Path(__file__).parents[2])
    login = {"LAB_GIT_USER": GIT_LOGIN.name, "LAB_GIT_PASSWORD": GIT_LOGIN.secret}
    GIT.start(argv, env={"PYTHONPATH": checkout, **login})


def _start_s3(address: str) -> None:
    # A directory at the top is a bucket.
    (S3_ROOT / BUCKET).mkdir(parents=True, exist_ok=True)
    argv: list[str | Path] = [build(VERSITYGW), "--port", f"{address}:{S3_PORT}", "--quiet"]
    argv += ["posix", S3_ROOT]
    login = {"ROOT_ACCESS_KEY": S3_LOGIN.name, "ROOT_SECRET_KEY": S3_LOGIN.secret}
    S3.start(argv, env={**login, "VGW_REGION": "us-east-1", "HOME": os.environ.get("HOME", "/")})


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False
