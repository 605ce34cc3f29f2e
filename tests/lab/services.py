"""The servers beside the cluster: a registry, an S3 server, and git's repositories by http, https and ssh.

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

from tests.lab import hosts, tls
from tests.lab.daemon import Daemon
from tests.lab.gobuild import VERSITYGW, build
from tests.lab.shell import stage
from tests.lab.sshserver import SshServer
from tests.lab.state import (
    CACHE,
    GIT_PORT,
    GIT_SSH_PORT,
    GIT_TLS_PORT,
    NAMES,
    REGISTRY_PORT,
    S3_PORT,
    STATE,
)

REGISTRY = Daemon(name="registry")
GIT = Daemon(name="git")
GIT_TLS = Daemon(name="git-tls")
GIT_SSH = Daemon(name="git-ssh")
S3 = Daemon(name="s3")
PORTS = {
    REGISTRY: REGISTRY_PORT,
    GIT: GIT_PORT,
    GIT_TLS: GIT_TLS_PORT,
    GIT_SSH: GIT_SSH_PORT,
    S3: S3_PORT,
}

REGISTRY_ROOT = STATE / "registry"
REGISTRY_SEED = CACHE / "registry"
"""A registry's storage with the lab's own images in it, copied into every new lab."""
GIT_ROOT = STATE / "git"
GIT_NAME = "git.lab"
GIT_TLS_URL = f"https://{GIT_NAME}:{GIT_TLS_PORT}"
"""The same repositories behind a certificate of the lab's own authority."""
GIT_SSH_URL = f"ssh://git@{GIT_NAME}:{GIT_SSH_PORT}"
"""The same repositories, private ones too, for clients with `SSH.client_key`."""
TLS = STATE / "tls"
SSH = SshServer(root=STATE / "ssh")
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
    """Have the servers on `address`, starting those that do not run, and make their names known on this machine."""
    parts = {
        REGISTRY: _start_registry,
        GIT: _start_git,
        GIT_TLS: _start_git_tls,
        GIT_SSH: _start_git_ssh,
        S3: _start_s3,
    }
    missing = [daemon for daemon in parts if daemon.pid() is None]
    if not missing:
        return
    with stage(f"start the servers {', '.join(daemon.name for daemon in missing)}"):
        hosts.add(address, NAMES)
        for daemon in missing:
            parts[daemon](address)
        for daemon in missing:
            daemon.expect(partial(_listens, address, PORTS[daemon]), seconds=120)


def alive() -> bool:
    """Whether the servers run without which there is no lab; `start` brings others back."""
    return all(daemon.pid() is not None for daemon in (REGISTRY, GIT, S3))


def authority() -> str:
    """The certificate (PEM) of the authority that GIT_TLS_URL's is made by."""
    return tls.certificates(TLS, GIT_NAME).authority.read_text()


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
    _start_http(GIT, address, GIT_PORT)


def _start_git_tls(address: str) -> None:
    made = tls.certificates(TLS, GIT_NAME)
    certificate = ["--certificate", str(made.certificate), "--key", str(made.key)]
    _start_http(GIT_TLS, address, GIT_TLS_PORT, *certificate)


def _start_http(daemon: Daemon, address: str, port: int, *more: str) -> None:
    argv = [sys.executable, "-m", "tests.lab.gitserver", "--address", address]
    argv += ["--port", str(port), "--root", str(GIT_ROOT), *more]
    checkout = str(Path(__file__).parents[2])
    login = {"LAB_GIT_USER": GIT_LOGIN.name, "LAB_GIT_PASSWORD": GIT_LOGIN.secret}
    daemon.start(argv, env={"PYTHONPATH": checkout, **login})


def _start_git_ssh(address: str) -> None:
    GIT_SSH.start(SSH.prepare(address=address, port=GIT_SSH_PORT, repositories=GIT_ROOT))


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
