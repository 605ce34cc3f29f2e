"""What the lab promises of its cluster, asked of a pod in it."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from tests.lab import audit
from tests.lab.state import Lab

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ASK = """
for name in registry.lab git.lab s3.lab kubernetes.default; do
  getent hosts $name >/dev/null && echo "$name known" || echo "$name unknown"
done
for server in registry.lab/5000 git.lab/3000 s3.lab/9000 kubernetes.default/443; do
  (exec 3<>/dev/tcp/$server) 2>/dev/null && echo "$server answers" || echo "$server is silent"
done
getent hosts nowhere.example >/dev/null; echo "nowhere.example: $?"
(exec 3<>/dev/tcp/192.0.2.77/80) 2>&1 | grep -o 'Network is unreachable' | head -1
"""


def kubectl(*args: str, stdin: str | None = None) -> str:
    env = {**os.environ, **Lab.load().environ()}
    done = subprocess.run(
        ["kubectl", *args], env=env, input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def pod() -> Iterator[tuple[str, str]]:
    """Namespace and name of a running pod of the Debian box; deleted afterwards."""
    namespace = f"lab-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", namespace)
    image = f"{Lab.load().registry}/box/debian:12"
    container = {"name": "box", "image": image, "command": ["sleep", "600"]}
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asks", "namespace": namespace},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/asks", "--timeout=300s")
    yield namespace, "asks"
    kubectl("delete", "namespace", namespace, "--wait=false")


def test_a_pod_reaches_the_labs_servers_and_nothing_outside(pod: tuple[str, str]) -> None:
    namespace, name = pod
    said = kubectl("-n", namespace, "exec", name, "--", "bash", "-c", ASK)
    assert said.splitlines() == [
        "registry.lab known",
        "git.lab known",
        "s3.lab known",
        "kubernetes.default known",
        "registry.lab/5000 answers",
        "git.lab/3000 answers",
        "s3.lab/9000 answers",
        "kubernetes.default/443 answers",
        "nowhere.example: 2",
        "Network is unreachable",
    ]


def test_the_audit_log_says_who_made_a_pod(pod: tuple[str, str]) -> None:
    namespace, name = pod
    events = audit.events(Lab.load().audit_log, holding=namespace)
    made = [
        (event["verb"], event["user"]["username"], event["responseStatus"]["code"])
        for event in events
        if event.get("objectRef", {}).get("namespace") == namespace
        and event["objectRef"].get("name") == name
        and event["verb"] in ("create", "patch")
        and event["objectRef"].get("subresource") is None
    ]
    assert made == [("create", "kubernetes-admin", 201)]
