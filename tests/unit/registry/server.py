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
def registry(
    root: Path, *, login: bool = False, tls: tuple[Path, Path] | None = None
) -> Iterator[str]:
    """Run a registry with its data in `root`; gives host:port. With `login` it wants USER and PASSWORD.

    `tls`: a certificate and its key, to serve https with.
    """
    program = shutil.which("docker-registry") or shutil.which("registry")
    assert program, "there is no registry to test against: install Debian's docker-registry"
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(root / "data")},
            "delete": {"enabled": True},
        },
    }
    root.mkdir(parents=True, exist_ok=True)
    if login:
        (root / "htpasswd").write_text(_HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(root / "htpasswd")}}
    for _ in range(5):
        port = _free_port()
        http: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
        if tls:
            http["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
        (root / "config.yml").write_text(json.dumps({**config, "http": http}))
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "serve", str(root / "config.yml")], stdout=log, stderr=log
            )
        try:
            if _listens(port, process):
                yield f"127.0.0.1:{port}"
                return
        finally:
            process.terminate()
            process.wait()
    raise AssertionError(f"the registry does not listen: {(root / 'log').read_text()}")


def docker_config(host: str, *, user: str = USER, password: str = PASSWORD) -> str:
    """A docker config.json with one entry."""
    return json.dumps({"auths": {host: {"username": user, "password": password}}})


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether it came to listen. It ends where another process was faster to take the port."""
    end = time.monotonic() + 150
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(10)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process.poll() is None
        time.sleep(0.02)
    return False
