"""Settings about images, on a cluster: mirrors and rewrites, and images that only the nodes have."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.cluster.conftest import Builds
from tests.install import ROOT, environ, install
from tests.kubectl import condition
from tests.lab.state import Lab

LOCAL = "images.invalid/box:dev"
"""No registry has it, and no name server knows it."""

GONE = """\
box: wercker/rvm@1.0
services:
  - id: docker.io/box/busybox
    name: web
    cmd: httpd -f -p 8080 -h /etc
    ports: ["8080"]
build:
  steps:
    - script: {name: first, code: 'echo "$RAILS_ENV"; touch /made'}
"""

ON_NODES = f"""\
box: {LOCAL}
services:
  - {{id: {LOCAL}, name: web, cmd: httpd -f -p 8080 -h /etc, ports: ["8080"]}}
build:
  steps:
    - script: {{name: fetch, code: 'wget -qO- http://127.0.0.1:8080/group | head -n 1'}}
"""


@pytest.fixture
def mirrored(sentinel: Lab) -> None:
    """Docker Hub is the lab's registry, where `busybox` without a tag is not what it was."""
    busybox = f"{sentinel.registry}/box/busybox"
    subprocess.run(
        [sys.executable, "-m", "tests.lab", "push", f"{busybox}:1", f"{busybox}:latest"],
        check=True,
        cwd=ROOT,
        env=environ(sentinel),
    )
    rules = {
        r"images.mirrors.docker\.io": sentinel.registry,
        "images.rewrite[0].pattern": "wercker/rvm*",
        "images.rewrite[0].image": "box/debian:12",
        "images.rewrite[0].env.RAILS_ENV": "test",
    }
    install(sentinel, quiet=True, more=rules)


def test_a_box_that_is_gone_is_pulled_from_a_mirror_and_the_log_has_it(
    mirrored: None, builds: Builds
) -> None:
    repository = f"{builds.lab.registry}/{builds.namespace}/mirrored"
    raw = builds.run(url=builds.project(GONE), image={"commit": "end", "repository": repository})

    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    accepted = condition(raw, "Accepted")["message"]
    notes = [
        "box wercker/rvm@1.0 is replaced by box/debian:12 (images.rewrite)",
        "image docker.io/box/busybox has no tag: it is docker.io/box/busybox:latest, today sha256:",
    ]
    first, second, *printed = builds.log(raw, "first").splitlines()
    for note, line in zip(notes, (first, second), strict=True):
        assert line.startswith(f"--- sentinel: {note}")
        assert line.removeprefix("--- sentinel: ") in accepted
    assert printed == ["test"]
    # The image is that of the mirror in the pod, and was pushed where the Build said.
    assert raw["status"]["box"]["image"] == "box/debian:12"
    assert raw["status"]["image"]["digest"].startswith("sha256:")


@pytest.fixture
def local(sentinel: Lab) -> None:
    """Images are those of the nodes, and one is loaded as `kind load docker-image` does."""
    env = environ(sentinel)
    source = f"{sentinel.registry}/box/busybox:1"
    subprocess.run(["docker", "tag", source, LOCAL], check=True, env=env)
    load = [sys.executable, "-m", "tests.lab", "load", LOCAL]
    subprocess.run(load, check=True, cwd=ROOT, env=env)
    install(sentinel, quiet=True, more={"images.local": "true"})


def test_images_loaded_onto_the_nodes_are_boxes_and_services(local: None, builds: Builds) -> None:
    raw = builds.run(url=builds.project(ON_NODES), image={"commit": "end"})

    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    assert builds.log(raw, "fetch") == "root:x:0:\n"
    assert raw["status"]["box"]["image"] == LOCAL
    assert "image" not in raw["status"]
