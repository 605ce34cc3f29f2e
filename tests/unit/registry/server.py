"""A real registry (distribution, Debian's docker-registry) on a loopback port, for tests.

It is the one that the lab uses. The process is ours: it ends with the context.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER, PASSWORD = "tester", "open sesame"
_HTPASSWD = f"{USER}:$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy\n"


@contextmanager
def registry(root: Path, *, login: bool = False) -> Iterator[str]:
    """Run a registry with its data in `root`; gives host:port. With `login` it wants USER and PASSWORD."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    assert program, "there is no registry to test against: install Debian's docker-registry"
    port = _free_port()
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(root / "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    root.mkdir(parents=True, exist_ok=True)
    if login:
        (root / "htpasswd").write_text(_HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(root / "htpasswd")}}
    (root / "config.yml").write_text(json.dumps(config))
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(root / "config.yml")], stdout=log, stderr=log
        )
    try:
        _wait_for(port, process, root / "log")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def docker_config(host: str, *, user: str = USER, password: str = PASSWORD) -> str:
    """A docker config.json with one entry."""
    return json.dumps({"auths": {host: {"username": user, "password": password}}})


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, f"the registry ended: {log.read_text()}"
        time.sleep(0.02)
    raise AssertionError(f"the registry does not listen: {log.read_text()}")
