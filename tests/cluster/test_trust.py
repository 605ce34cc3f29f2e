"""A user with the role `edit` in one namespace tries to have the operator act for them. Nothing of it works.

Labels, annotations, owner references and names are all theirs to write. Every attempt ends the Build as NotVerified,
what they made is not touched, and nothing changes in another namespace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.cluster.conftest import WAITS, Builds
from tests.cluster.test_reasons import verdict
from tests.install import NAMESPACE, await_leader, without_operator
from tests.kubectl import Kubectl, KubectlError, finished
from tests.unit.engine.world import plan

from sentinel.plan.codec import encode
from sentinel.plan.names import (
    PLAN_ANNOTATION,
    AttemptId,
)

MALLORY = "--as=mallory"
FOREIGN = "kube-system"
DEPLOYMENT = "deployment/sentinel-operator"
KINDS = "pods,configmaps,secrets,roles,rolebindings,imagecommits"


def names_in(kubectl: Kubectl, namespace: str) -> set[str]:
    return set(kubectl("get", KINDS, "-n", namespace, "-o", "name").split())


@pytest.fixture
def mallory(builds: Builds, kubectl: Kubectl) -> Iterator[Kubectl]:
    """kubectl, with `edit` for mallory in the test's namespace. Nothing may change in kube-system meanwhile."""
    namespace = builds.namespace
    kubectl("create", "rolebinding", "m", "--clusterrole=edit", "--user=mallory", "-n", namespace)
    before = names_in(kubectl, FOREIGN)
    yield kubectl
    assert names_in(kubectl, FOREIGN) == before


def create(kubectl: Kubectl, body: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        kubectl("create", MALLORY, "-f", "-", "-o", "json", stdin=json.dumps(body))
    )
    return made


def theirs(builds: Builds, build: dict[str, Any], **annotations: str) -> dict[str, Any]:
    """A pod under the name of the Build's first, with our labels and owner reference."""
    meta = build["metadata"]
    identity = AttemptId(meta["namespace"], meta["name"], meta["uid"], 1)
    image = f"{builds.lab.registry}/box/debian:12"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": identity.pod,
            "namespace": builds.namespace,
            "labels": identity.labels,
            "annotations": annotations,
            "ownerReferences": [
                {
                    "apiVersion": build["apiVersion"],
                    "kind": "Build",
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {
            "containers": [{"name": "box", "image": image, "command": ["sleep", "600"]}],
            "terminationGracePeriodSeconds": 0,
        },
    }


def forged_plan() -> str:
    """A plan as an operator of an earlier version would have believed it: of a pod in kube-system."""
    return encode(
        replace(plan(), namespace=FOREIGN, results_prefix="victim/project-artifacts/app/uid/1/")
    )


def restart(kubectl: Kubectl) -> None:
    kubectl("rollout", "restart", DEPLOYMENT, "-n", NAMESPACE)
    await_leader(kubectl)


def running(builds: Builds, name: str = "b") -> dict[str, Any]:
    """The Build once its step runs."""
    return builds.kubectl.wait_for(
        "build",
        name,
        namespace=builds.namespace,
        until=lambda raw: raw.get("status", {}).get("phase") == "Running",
    )


def message(raw: dict[str, Any]) -> str:
    found = next(c for c in raw["status"]["conditions"] if c["type"] == "Succeeded")
    return str(found.get("message", ""))


def untouched(builds: Builds, made: dict[str, Any]) -> None:
    """What mallory made is there as it was: not deleted, not stopped."""
    name = made["metadata"]["name"]
    now = builds.kubectl.get(made["kind"].lower(), name, namespace=builds.namespace)
    assert now is not None
    assert now["metadata"]["uid"] == made["metadata"]["uid"]
    assert "deletionTimestamp" not in now["metadata"]
    assert now["metadata"].get("annotations") == made["metadata"].get("annotations")
    assert now.get("data") == made.get("data")
    assert "activeDeadlineSeconds" not in now.get("spec", {})


def test_the_plan_of_a_running_build_is_changed(builds: Builds, mallory: Kubectl) -> None:
    builds.apply("b", url=builds.script(WAITS))
    running(builds)
    (pod,) = builds.pods("b")
    name = pod["metadata"]["name"]
    change = (f"{PLAN_ANNOTATION}={forged_plan()}", "--overwrite", "-n", builds.namespace)
    mallory("annotate", "pod", name, MALLORY, *change)

    raw = builds.finish("b")

    assert verdict(raw) == ("Errored", "NotVerified")
    assert "sentinel.wercker.com/plan was changed while the build ran" in message(raw)


def test_a_running_builds_pod_is_replaced_by_one_with_its_plan(
    builds: Builds, mallory: Kubectl
) -> None:
    builds.apply("b", url=builds.script(WAITS))
    build = running(builds)
    (pod,) = builds.pods("b")
    name = pod["metadata"]["name"]
    mallory("delete", "pod", name, MALLORY, "--force", "--grace-period=0", "-n", builds.namespace)
    plan_text = {PLAN_ANNOTATION: pod["metadata"]["annotations"][PLAN_ANNOTATION]}
    made = create(mallory, theirs(builds, build, **plan_text))

    raw = builds.finish("b")

    # Which of the two the operator saw first is a matter of luck; both are true.
    assert verdict(raw)[0] == "Errored"
    assert verdict(raw)[1] in ("NotVerified", "PodDeleted")
    untouched(builds, made)


@pytest.mark.alone
def test_what_is_there_under_our_names_before_we_create_it(
    builds: Builds, mallory: Kubectl
) -> None:
    script = {"steps/hi/run.sh": "echo hi\n", "steps/hi/step.yml": "name: hi\nversion: 1.0.0\n"}
    registry = builds.lab.registry
    urls = {
        "pod": builds.script("true"),
        "files": builds.project(
            f'box: {registry}/box/debian:12\nbuild:\n  steps:\n    - hi "file://./steps/hi"\n',
            **script,
        ),
        "login": builds.project(
            f"box: {{id: {registry}/box/debian, tag: 12, username: u, password: p}}\n"
            "build:\n  steps:\n    - script: {code: 'true'}\n"
        ),
    }
    made: dict[str, dict[str, Any]] = {}
    with without_operator(mallory):
        for name, url in urls.items():
            builds.apply(name, url=url)
        uids = {name: builds.get(name)["metadata"]["uid"] for name in urls}
        for name, kind, taken in (
            ("files", "ConfigMap", AttemptId("", "files", uids["files"], 1).steps),
            ("login", "Secret", AttemptId("", "login", uids["login"], 0).pull_secret),
        ):
            marks = AttemptId("", name, uids[name], 1).labels
            metadata = {"namespace": builds.namespace, "name": taken, "labels": marks}
            body = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": {"a": "YQ=="}}
            made[name] = create(mallory, body)
        pod = theirs(builds, builds.get("pod"), **{PLAN_ANNOTATION: forged_plan()})
        made["pod"] = create(mallory, pod)

    for name, each in made.items():
        raw = builds.finish(name)
        assert verdict(raw) == ("Errored", "NotVerified")
        found = message(raw)
        assert f"{each['kind'].lower()} {each['metadata']['name']} is not" in found.lower()
        assert "not signed" in found
        untouched(builds, each)
    assert builds.pods("files") == builds.pods("login") == []


def test_what_edit_may_not_write(builds: Builds, mallory: Kubectl) -> None:
    """The status and ImageCommits are the operator's: what it and the agents go by stands there."""
    builds.apply("b", url=builds.script("true"))
    where = ("-n", builds.namespace, MALLORY)
    patch = '{"status":{"pod":{"uid":"theirs"},"results":{"prefix":"victim/"}}}'
    commit = {
        "apiVersion": "sentinel.wercker.com/v1alpha1",
        "kind": "ImageCommit",
        "metadata": {"name": "c", "namespace": builds.namespace},
        "spec": {},
    }
    for verb in ("update", "patch"):
        with pytest.raises(KubectlError, match=r"(?m)^no\b"):
            mallory("auth", "can-i", verb, "builds", "--subresource=status", *where)
    with pytest.raises(KubectlError, match=r'resource "builds/status"'):
        mallory("patch", "build", "b", *where, "--subresource=status", "--type=merge", "-p", patch)
    with pytest.raises(KubectlError, match=r'cannot create resource "imagecommits"'):
        mallory("create", "-f", "-", MALLORY, "--validate=false", stdin=json.dumps(commit))
    with pytest.raises(KubectlError, match="Forbidden"):
        mallory("get", "secret", "sentinel-plan-key", "-n", NAMESPACE, MALLORY)
    # Through the Build itself the server lets a status pass unread.
    mallory("patch", "build", "b", *where, "--type=merge", "-p", patch)

    raw = builds.finish("b")

    assert verdict(raw) == ("Succeeded", "Passed")
    assert raw["status"]["pod"]["uid"] != "theirs"
    assert not raw["status"]["results"]["prefix"].startswith("victim/")


@pytest.mark.alone
def test_the_key_is_rotated_while_a_build_runs(builds: Builds, kubectl: Kubectl) -> None:
    """docs/explanation/security.md, "Rotating the key". The key itself is in no log and in no pod."""
    builds.apply("b", url=builds.script(WAITS))
    running(builds)
    secret = kubectl.get("secret", "sentinel-plan-key", namespace=NAMESPACE)
    assert secret is not None
    old = secret["data"]["current"]
    new = "bmV3LWtleS1vZi10aGUtdGVzdC0zMi1ieXRlcy1sb25nISE="
    patch = json.dumps({"data": {"current": new, "previous": old}})
    try:
        kubectl(
            "patch", "secret", "sentinel-plan-key", "-n", NAMESPACE, "--type=merge", "-p", patch
        )
        restart(kubectl)
        builds.release("b")
        builds.apply("after", url=builds.script("true"))

        assert verdict(builds.finish("b")) == ("Succeeded", "Passed")
        assert verdict(builds.finish("after")) == ("Succeeded", "Passed")
        log = kubectl("logs", DEPLOYMENT, "-n", NAMESPACE, "--all-containers")
        everything = kubectl("get", "pods", "-A", "-o", "yaml")
        for key in (old, new):
            assert key not in log
            assert key not in everything
    finally:
        back = json.dumps({"data": {"current": old, "previous": None}})
        kubectl("patch", "secret", "sentinel-plan-key", "-n", NAMESPACE, "--type=merge", "-p", back)
        restart(kubectl)


@pytest.mark.alone
def test_a_pod_that_only_has_our_labels_outlives_every_resync(
    builds: Builds, mallory: Kubectl
) -> None:
    """Its labels name a Build that is not there, and its name is the one that such a Build's pod would have."""
    gone = {
        "apiVersion": "sentinel.wercker.com/v1alpha1",
        "metadata": {
            "namespace": builds.namespace,
            "name": "gone",
            "uid": "11111111-2222-3333-4444-555555555555",
        },
    }
    body = theirs(builds, gone, **{PLAN_ANNOTATION: forged_plan()})
    del body["metadata"]["ownerReferences"]
    pod = create(mallory, body)
    kubectl = builds.kubectl
    restart(kubectl)
    # The first resync comes with the start, before any Build is driven.
    builds.apply("b", url=builds.script("true"))
    kubectl.wait_for("build", "b", namespace=builds.namespace, until=finished)

    untouched(builds, pod)
