"""A BuildKit beside the cluster: buildkitd on this machine, reached by mutual TLS, and an image with buildctl.

It runs only as long as somebody needs it, with this machine's runc, and knows the lab's registry. Where it keeps
things goes with the lab.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import archive, cgroups, gobuild, images, lab, tls
from tests.lab.shell import run, wait_for
from tests.lab.state import REGISTRY, STATE, Lab

ROOT = STATE / "buildkit"
IMAGE = f"{REGISTRY}/lab/buildkit:{gobuild.BUILDKIT}"
_LOCAL = f"sentinel-lab/buildkit:{gobuild.BUILDKIT}"


@dataclass(frozen=True, kw_only=True)
class BuildKit:
    """A buildkitd that runs. `tls` are the files of a Secret for its clients; `image` has buildctl and sh."""

    address: str
    tls: dict[str, str]
    image: str
    log: Path


@contextmanager
def buildkit(of: Lab) -> Iterator[BuildKit]:
    """Run a buildkitd with an empty cache for the length of a block."""
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir(parents=True)
    port = _free_port(of.gateway)
    made = tls.certificates(ROOT / "tls", of.gateway, client="operator")
    config = ROOT / "buildkitd.toml"
    parent = cgroups.make_parent()
    config.write_text(
        f"""\
root = "{ROOT}/root"
[grpc]
  address = ["tcp://{of.gateway}:{port}"]
  [grpc.tls]
    cert = "{made.certificate}"
    key = "{made.key}"
    ca = "{made.authority}"
[worker.oci]
  enabled = true
  # Takes out what this machine may not do; it becomes runc.
  binary = "{gobuild.build(gobuild.RUNC)}"
  networkMode = "host"
  {f'defaultCgroupParent = "{parent}/buildkit"' if parent else ""}
[worker.containerd]
  enabled = false
[registry."{REGISTRY}"]
  http = true
"""
    )
    _publish(of)
    log = ROOT / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [gobuild.build(gobuild.BUILDKITD), "--config", config],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "TMPDIR": str(ROOT)},
        )
    try:
        wait_for("buildkitd", lambda: _listens(of.gateway, port), seconds=120)
        yield BuildKit(
            address=f"tcp://{of.gateway}:{port}",
            tls={
                "ca.crt": made.authority.read_text(),
                "tls.crt": made.client_certificate.read_text(),
                "tls.key": made.client_key.read_text(),
            },
            image=IMAGE,
            log=log,
        )
    finally:
        process.terminate()
        process.wait()


def _publish(of: Lab) -> None:
    """Have in the lab's registry what moby/buildkit is where it can be pulled, as far as we need it."""
    file = ROOT / "image.tar"
    archive.write(
        archive.Image(
            names=[_LOCAL],
            files={
                "usr/bin/buildctl": gobuild.build(gobuild.BUILDCTL),
                "bin/busybox": images.BUSYBOX,
            },
            links={"bin/sh": "busybox", "bin/cat": "busybox"},
        ),
        file,
    )
    run("docker", "--host", of.docker_host, "load", "-q", "-i", file)
    file.unlink()
    lab.push_image(_LOCAL, IMAGE)


def _free_port(address: str) -> int:
    with socket.socket() as listener:
        listener.bind((address, 0))
        port: int = listener.getsockname()[1]
        return port


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False
