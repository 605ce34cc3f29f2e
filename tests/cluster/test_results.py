"""Builds, their logs and output with nothing but a kubeconfig: from where only the API server is reachable."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.conftest import Builds
from tests.kubectl import Kubectl, KubectlError, condition, until
from tests.lab.state import Lab

API = "/apis/results.sentinel.wercker.com/v1alpha1"
TEXT = """\
box: {registry}/box/debian:12
build:
  steps:
    - script: {{name: first, code: 'echo "the token is $TOKEN"'}}
    - script: {{name: silent, code: 'true'}}
    - script:
        name: last
        code: |
          mkdir "$WERCKER_OUTPUT_DIR/deep"
          seq 1 100000 | tee "$WERCKER_OUTPUT_DIR/deep/numbers"
          printf "no newline"
"""
NUMBERS = "".join(f"{n}\n" for n in range(1, 100001))
LOGS = f"▶ first\nthe token is ****\n▶ silent\n▶ last\n{NUMBERS}no newline"

ONLY_THE_API_SERVER = """\
import runpy, socket, sys
allowed = (sys.argv[1], int(sys.argv[2]))
def look(event, arguments):
    if event == "socket.connect" and arguments[0].family != socket.AF_UNIX and arguments[1][:2] != allowed:
        raise OSError(f"only the API server is reachable, not {arguments[1]}")
sys.addaudithook(look)
sys.argv[0:3] = ["sentinel"]
runpy.run_module("sentinel", run_name="__main__", alter_sys=True)
"""


class Person:
    """Somebody with a kubeconfig of a ServiceAccount's token, and no other variable of the lab's."""

    def __init__(
        self, lab: Lab, kubectl: Kubectl, *, account: str, home: str, folder: Path
    ) -> None:
        token = kubectl("create", "token", account, "-n", home).strip()
        config = yaml.safe_load(Path(lab.kubeconfig).read_text())
        cluster = config["clusters"][0]
        self._server = cluster["cluster"]["server"].removeprefix("https://")
        self._kubectl = f"{lab.bin}/kubectl"
        self._config = folder / f"{account}.yaml"
        context = {"cluster": cluster["name"], "user": account}
        self._config.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [cluster],
                    "users": [{"name": account, "user": {"token": token}}],
                    "contexts": [{"name": account, "context": context}],
                    "current-context": account,
                }
            )
        )

    def sentinel(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command, in a process that reaches the API server and nothing else."""
        host, _, port = self._server.rpartition(":")
        return self._run(sys.executable, "-c", ONLY_THE_API_SERVER, host, port, *words)

    def kubectl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run(self._kubectl, *words)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._config.parent),
            "PYTHONPATH": os.environ.get("PYTHONPATH", "operator"),
            "KUBECONFIG": str(self._config),
        }
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=240, env=environment
        )


@pytest.fixture
def people(builds: Builds, kubectl: Kubectl, tmp_path: Path) -> Iterator[dict[str, Person]]:
    """ServiceAccounts of the namespace with the ClusterRoles view and edit, and one with view of another namespace."""
    namespace, elsewhere = builds.namespace, "default"
    objects: list[dict[str, Any]] = []
    for account, role, place in (
        ("viewer", "view", namespace),
        ("editor", "edit", namespace),
        ("stranger", "view", elsewhere),
    ):
        objects.append(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": account, "namespace": namespace},
            }
        )
        objects.append(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": f"{account}-{namespace}", "namespace": place},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": role,
                },
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
            }
        )
    kubectl.apply(*objects)
    for account, place in (("viewer", namespace), ("editor", namespace), ("stranger", elsewhere)):
        builds.await_rights(account, "get", "builds.sentinel.wercker.com", namespace=place)
    yield {
        account: Person(builds.lab, kubectl, account=account, home=namespace, folder=tmp_path)
        for account in ("viewer", "editor", "stranger")
    }
    kubectl("delete", "rolebinding", f"stranger-{namespace}", "-n", elsewhere)


def await_api(kubectl: Kubectl) -> None:
    """Wait until the API server has reached the results server: it looks every half a minute."""
    kubectl.wait_for(
        "apiservice",
        "v1alpha1.results.sentinel.wercker.com",
        namespace="",
        until=lambda raw: condition(raw, "Available").get("status") == "True",
    )


@pytest.mark.timeout(600)
def test_logs_and_output_for_those_who_may_read_builds_there_and_for_nobody_else(
    builds: Builds, kubectl: Kubectl, people: dict[str, Person], tmp_path: Path
) -> None:
    namespace = builds.namespace
    await_api(kubectl)
    builds.secret("tokens", token="v3ry-s3cret-value")
    raw = builds.run(
        url=builds.project(TEXT.format(registry=builds.lab.registry)),
        env=[{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "token"}}}],
    )
    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    path = f"{API}/namespaces/{namespace}/builds/b"
    for name in ("viewer", "editor"):
        person = people[name]
        read = person.sentinel("logs", "b", "-n", namespace)
        assert (read.returncode, read.stdout, read.stderr) == (0, LOGS, "")
        assert person.sentinel("logs", "b", "-n", namespace, "--step", "silent").stdout == ""
        target = tmp_path / name
        written = person.sentinel("output", "b", str(target), "-n", namespace)
        assert written.returncode == 0, written.stderr
        assert {p.name: p.read_text() for p in target.rglob("*") if p.is_file()} == {
            "numbers": NUMBERS
        }
        assert person.kubectl("get", "--raw", f"{path}/log").stdout == LOGS
        last = person.kubectl("get", "--raw", f"{path}/log?step=last&tailLines=2").stdout
        assert last == "100000\nno newline"
        may_create = person.kubectl("auth", "can-i", "create", "builds", "-n", namespace)
        assert may_create.stdout.strip() == ("yes" if name == "editor" else "no")
        failed = person.kubectl("get", "--raw", f"{path}/log?step=nope")
        assert "its steps are: first, silent, last" in failed.stderr
        missing = person.kubectl("get", "--raw", f"{API}/namespaces/{namespace}/builds/no/log")
        assert f"there is no Build 'no' in namespace '{namespace}'" in missing.stderr

    stranger = people["stranger"]
    for words in (("logs", "b"), ("output", "b", str(tmp_path / "none"))):
        refused = stranger.sentinel(*words, "-n", namespace)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "forbidden" in refused.stderr
    for what in ("log", "output"):
        refused = stranger.kubectl("get", "--raw", f"{path}/{what}")
        assert refused.returncode == 1
        assert "Forbidden" in refused.stderr


@pytest.mark.timeout(600)
def test_a_directory_is_run_by_those_who_may_edit_there(
    builds: Builds, kubectl: Kubectl, people: dict[str, Person], tmp_path: Path
) -> None:
    """`sentinel run --cluster`: the directory reaches the pod through the API server, and its log comes back."""
    await_api(kubectl)
    namespace, root = builds.namespace, tmp_path / "project"
    root.mkdir()
    data = os.urandom(3_000_000)
    (root / "data").write_bytes(data)
    (root / "junk").write_text("left out")
    (root / ".werckerignore").write_text("junk\n")
    (root / "wercker.yml").write_text(
        f"box: {builds.lab.registry}/box/debian:12\nbuild:\n  steps:\n    - script:\n        name: look\n"
        "        code: sha256sum data && ls && echo the token is $TOKEN\n"
    )
    variables = tmp_path / "variables"
    variables.write_text("XXX_TOKEN=v3ry-s3cret-value\n")
    words = ("run", str(root), "--cluster", "-n", namespace, "--env-file", str(variables))

    done = people["editor"].sentinel(*words, "--name", "up")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (f"{hashlib.sha256(data).hexdigest()}  data", "wercker.yml", "the token is ****"):
        assert line in done.stdout.splitlines(), done.stdout + done.stderr
    assert "junk" not in done.stdout
    raw = builds.get("up")
    assert (
        raw["status"]["source"]["digest"] == f"sha256:{raw['spec']['source']['upload']['sha256']}"
    )
    assert "v3ry-s3cret-value" not in json.dumps(raw) + done.stdout + done.stderr
    secret = kubectl.get("secret", "up-env", namespace=namespace)
    assert secret is not None
    assert [each["uid"] for each in secret["metadata"]["ownerReferences"]] == [
        raw["metadata"]["uid"]
    ]

    for name in ("viewer", "stranger"):
        refused = people[name].sentinel(*words, "--name", f"by-{name}")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "forbidden" in refused.stderr


def discovered(kubectl: Kubectl) -> bool:
    """Whether discovery has our resources. It fails where one API, ours or another, does not answer at that moment."""
    try:
        return "sentinel.wercker.com/v1alpha1" in kubectl("api-resources", "--no-headers")
    except KubectlError:
        return False


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("sentinel")
def test_discovery_and_the_deletion_of_namespaces_work(kubectl: Kubectl) -> None:
    """Discovery works, `builds` stay those of the CRD, and namespaces are deleted to the end."""
    await_api(kubectl)
    listed = json.loads(kubectl("get", "--raw", API))
    assert [each["name"] for each in listed["resources"]] == ["builds/log", "builds/output"]
    until(lambda: discovered(kubectl), what="`kubectl api-resources` has our resources")
    name = f"gone-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    # The namespace controller tries again after up to a minute where one of its looks has failed.
    kubectl("delete", "namespace", name, "--wait", "--timeout=240s", timeout=250)
    assert kubectl.get("namespace", name) is None
