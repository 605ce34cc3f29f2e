"""Logs, output and caches of builds in a directory store: the chart's own server instead of an S3 server."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.cluster.conftest import Builds
from tests.cluster.test_deploy import child
from tests.install import NAMESPACE, environ, install
from tests.kubectl import Kubectl, condition
from tests.lab.state import Lab

NAME = "sentinel-store"
TEXT = """\
box: {box}
build:
  steps:
    - script:
        name: work
        code: |
          echo "cached: $(cat "$WERCKER_CACHE_DIR/file")"
          echo kept >"$WERCKER_CACHE_DIR/file"
          head -c "$BYTES" /dev/urandom >"$WERCKER_OUTPUT_DIR/data"
          sha256sum <"$WERCKER_OUTPUT_DIR/data"
    - script:
        name: without a signature
        code: |
          for path in /list /objects/x '/list?method=LIST&key=&expires=9999999999&signature=0'; do
            exec 3<>/dev/tcp/sentinel-store.sentinel-system.svc/8080
            printf 'GET %s HTTP/1.0\\r\\n\\r\\n' "$path" >&3
            read -r _ status _ <&3; echo "$status"
          done
deploy:
  steps:
    - script: {{name: read, code: sha256sum <data}}
"""


@pytest.fixture(scope="module")
def directory(sentinel: Lab) -> None:
    """Sentinel with a directory store of 8 MiB, and without a bucket."""
    install(
        sentinel,
        quiet=True,
        more={
            "store.bucket": "",
            "store.endpoint": "",
            "store.existingSecret": "",
            "store.volume.emptyDir": "8Mi",
            "store.server.reserve": "1Mi",
        },
    )


@contextmanager
def access(lab: Lab, kubectl: Kubectl) -> Iterator[dict[str, str]]:
    """The environment in which `sentinel cache` reads that store, over a port-forward.

    One command long: it ends with the first connection that the store closes for being idle.
    """
    secret = kubectl.get("secret", f"{NAME}-key", namespace=NAMESPACE)
    assert secret is not None
    command = [
        f"{lab.bin}/kubectl",
        "--kubeconfig",
        lab.kubeconfig,
        "port-forward",
        "-n",
        NAMESPACE,
    ]
    with subprocess.Popen(
        [*command, f"service/{NAME}", ":8080", "--address=127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            printed = ""
            for line in process.stdout:
                printed += line
                if line.startswith("Forwarding from "):
                    break
            else:
                raise AssertionError(printed)
            yield {
                "SENTINEL_STORE__URL": f"http://{line.split()[2]}",
                "SENTINEL_STORE__KEY": base64.b64decode(secret["data"]["current"]).decode(),
            }
        finally:
            process.terminate()


def sentinel_command(builds: Builds, *args: str) -> str:
    """What the command prints."""
    with access(builds.lab, builds.kubectl) as variables:
        done = subprocess.run(
            [sys.executable, "-m", "sentinel", *args, "-n", builds.namespace],
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, **environ(builds.lab), **variables},
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.alone
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("directory")
def test_logs_output_and_cache_are_kept_in_a_directory(builds: Builds) -> None:
    url = builds.project(TEXT.format(box=f"{builds.lab.registry}/box/debian:12"))

    def build(name: str, size: int) -> dict[str, Any]:
        return builds.run(name, url=url, env=[{"name": "BYTES", "value": str(size)}])

    first = build("first", 3_000_000)
    assert first["status"]["phase"] == "Succeeded", json.dumps(first["status"])
    assert first["status"]["results"]["output"]["sizeBytes"] > 3_000_000
    work = sentinel_command(builds, "logs", "first", "--step", "work")
    digest = work.splitlines()[-1]
    assert len(digest.split()[0]) == 64
    refused = sentinel_command(builds, "logs", "first", "--step", "without a signature")
    assert refused == "403\n" * 3

    # The child's source is the output of its parent.
    builds.kubectl.apply(child(builds, "deploy", "first", "deploy"))
    assert builds.finish("deploy")["status"]["phase"] == "Succeeded"
    assert sentinel_command(builds, "logs", "deploy", "--step", "read").strip() == digest

    # The store has room for one such output more, not for a larger one.
    full = build("full", 6_000_000)
    assert full["status"]["cache"]["restored"] == "Hit"
    assert sentinel_command(builds, "logs", "full", "--step", "work").startswith("cached: kept\n")
    assert (full["status"]["phase"], condition(full, "Succeeded")["reason"]) == (
        "Errored",
        "StoreFailed",
    )
    assert "507: the store's disk is full" in condition(full, "Succeeded")["message"]

    rows = sentinel_command(builds, "cache", "ls").splitlines()
    assert [row.split()[1:3] for row in rows[1:]] == [["build", "-"]]
    assert "1 removed." in sentinel_command(builds, "cache", "clear", "--yes")
