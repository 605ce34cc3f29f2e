"""Sentinel in the lab: our image built and loaded, the chart installed with real helm, the CRDs with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kubectl import Kubectl
from tests.lab.state import Lab

ROOT = Path(__file__).parent.parent
NAMESPACE = "sentinel-system"
RELEASE = "sentinel"
IMAGE = "sentinel:dev"
STORE_SECRET = "sentinel-store"
PRIVATE_REGISTRY = "registry.lab:5001"
OPERATOR = "app.kubernetes.io/component=operator"
"""The label selector of the operator's pods."""
_configured: list[Lab] = []
"""The lab, while the release has other settings than the tests' own."""
SHARED = "SENTINEL_TEST_SHARED"
"""Set in the environment while other tests use the installation too."""


def environ(lab: Lab) -> dict[str, str]:
    """The environment for programs that use the lab."""
    return {**os.environ, **lab.environ()}


def build_image(lab: Lab) -> None:
    """Our image from operator/Dockerfile, loaded into the cluster. Nothing happens when nothing changed."""
    for command in (
        [sys.executable, "tools/image.py", "--tag", IMAGE],
        [sys.executable, "-m", "tests.lab", "load", IMAGE],
    ):
        subprocess.run(command, check=True, cwd=ROOT, env=environ(lab))


def install(
    lab: Lab,
    *,
    quiet: bool = False,
    more: Mapping[str, str] | None = None,
    files: Mapping[str, Path] | None = None,
) -> None:
    """Install or upgrade the release, and wait until operator and agent are ready.

    `more` are values beside ours, as helm's --set takes them, `files` values that are read from files. They are gone
    with the next install without them, and with `restore`.

    Pods are restarted when the image was rebuilt: its tag stays the same, its id does not.
    """
    if os.environ.get(SHARED):
        raise RuntimeError("other tests use this installation: mark the test `alone`")
    _configured[:] = [lab] if more or files else []
    kubectl = Kubectl(lab)
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": STORE_SECRET, "namespace": NAMESPACE},
            "stringData": {
                "AWS_ACCESS_KEY_ID": lab.s3_access_key,
                "AWS_SECRET_ACCESS_KEY": lab.s3_secret_key,
            },
        },
    )
    image_id = subprocess.run(
        ["docker", "image", "inspect", "-f", "{{.Id}}", IMAGE],
        check=True,
        capture_output=True,
        text=True,
        env=environ(lab),
    ).stdout.strip()
    values = {
        "image.repository": IMAGE.partition(":")[0],
        "image.tag": IMAGE.partition(":")[2],
        "operator.podAnnotations.image-id": image_id,
        "agent.podAnnotations.image-id": image_id,
        "reports.podAnnotations.image-id": image_id,
        "store.server.podAnnotations.image-id": image_id,
        "results.podAnnotations.image-id": image_id,
        "images.prefix": f"{lab.registry}/builds",
        # Where tests push besides builds/<namespace>: the second is one name a namespace, the third is not there.
        **{
            f"images.allowedRepositories[{n}]": pattern
            for n, pattern in enumerate(
                (
                    f"{lab.registry}/{{namespace}}/*",
                    f"{lab.registry}/test/{{namespace}}",
                    "registry.lab:1/team/app",
                    # Builds that are tried by hand.
                    f"{lab.registry}/case-*",
                    f"{PRIVATE_REGISTRY}/{{namespace}}/*",
                )
            )
        },
        # tests/cluster/test_reasons.py names one that does not exist.
        "pods.serviceAccounts[0]": "nobody",
        "images.insecureRegistries[0]": lab.registry,
        # One that asks for a password, where a test starts it.
        "images.insecureRegistries[1]": PRIVATE_REGISTRY,
        # The git server speaks plain http, and tests send it passwords.
        "network.plainHttp[0]": lab.git_url.partition("://")[2],
        # So do the servers that tests start on this machine.
        "network.plainHttp[1]": lab.gateway,
        "store.bucket": lab.s3_bucket,
        "store.endpoint": lab.s3_endpoint,
        "store.existingSecret": STORE_SECRET,
        "log.format": "text",
    }
    # A helm that was killed leaves the release locked. Tests that install run one at a time.
    pending = "owner=helm,status in (pending-install,pending-upgrade,pending-rollback)"
    locks = ("secrets", "-n", NAMESPACE, "-l", f"{pending},name={RELEASE}")
    if kubectl("get", *locks, "-o", "name"):
        # A rollback removes what the killed upgrade had added; without an earlier release there is none.
        back = [f"{lab.bin}/helm", "rollback", RELEASE, "--namespace", NAMESPACE]
        subprocess.run(back, check=False, capture_output=True, env=environ(lab))
        kubectl("delete", *locks)
    done = subprocess.run(
        [
            f"{lab.bin}/helm",
            "upgrade",
            "--install",
            RELEASE,
            str(ROOT / "charts/sentinel"),
            "--namespace",
            NAMESPACE,
            # CRDs that were applied with kubectl before lack the release's labels.
            "--take-ownership",
            "--wait",
            "--timeout",
            "5m",
            # For helm a --set-string comes after every --set.
            *(
                arg
                for pair in values.items()
                if pair[0] not in (more or {})
                for arg in ("--set-string", "=".join(pair))
            ),
            *(arg for pair in (more or {}).items() for arg in ("--set", "=".join(pair))),
            *(f"--set-file={name}={path}" for name, path in (files or {}).items()),
        ],
        check=False,
        capture_output=True,
        text=True,
        env=environ(lab),
    )
    if done.returncode:
        pods = kubectl("get", "pods", "-n", NAMESPACE, "-o", "wide")
        raise SystemExit(f"helm could not install the chart: {done.stderr.strip()}\n{pods}")
    await_leader(kubectl)
    if not quiet:
        print(done.stdout)


REPLACED = ("operator", "reporter", "results", "store")
"""Components whose old pods must be gone: the API server keeps its connections to an old results server, which answers
from the old store."""


def await_leader(kubectl: Kubectl, *, within: float = 240) -> None:
    """Wait until every rollout has ended, the pods that it replaced are gone, and an operator of the new ones leads.

    `helm --wait` does not wait for that: it returns once the new pods are ready, while an old operator may still lead
    and take a Build with the old settings. For the agents of a few nodes it does not even wait that long.
    """
    deadline = time.monotonic() + within
    release = f"app.kubernetes.io/instance={RELEASE}"
    while True:
        # Deployments come before pods: a rollout that has ended has marked all old pods for deletion.
        found = kubectl.list("deployments,daemonsets,pods", namespace=NAMESPACE, selector=release)
        workloads = [each for each in found if each["kind"] != "Pod"]
        pods = [each for each in found if component(each) in REPLACED]
        lease = kubectl.get("lease", "sentinel-operator", namespace=NAMESPACE) or {"spec": {}}
        leads = lease["spec"].get("holderIdentity") in {pod["metadata"]["name"] for pod in pods}
        leaving = [pod for pod in pods if pod["metadata"].get("deletionTimestamp")]
        if leads and not leaving and all(rolled_out(each) for each in workloads):
            return
        if time.monotonic() > deadline:
            states = [(pod["metadata"]["name"], pod["status"]["phase"]) for pod in pods]
            behind = [each["metadata"]["name"] for each in workloads if not rolled_out(each)]
            raise SystemExit(
                f"no operator of the last rollout leads after {within:.0f} s: pods {states}, "
                f"Lease {lease['spec']}, rollouts that go on: {behind}"
            )
        time.sleep(0.5)


def component(raw: dict[str, Any]) -> str:
    """The part of Sentinel that a pod is of."""
    labels = raw["metadata"]["labels"] if raw["kind"] == "Pod" else {}
    return str(labels.get("app.kubernetes.io/component", ""))


def rolled_out(workload: dict[str, Any]) -> bool:
    """Whether all pods of a Deployment or DaemonSet are of its newest template and available, as `kubectl rollout
    status` has it."""
    status = workload.get("status", {})
    if status.get("observedGeneration", 0) < workload["metadata"]["generation"]:
        return False
    if workload["kind"] == "DaemonSet":
        names = ("updatedNumberScheduled", "numberAvailable")
        return all(status.get(name, 0) >= status["desiredNumberScheduled"] for name in names)
    names = ("replicas", "updatedReplicas", "availableReplicas")
    return {status.get(name, 0) for name in names} == {workload["spec"]["replicas"]}


def leader(kubectl: Kubectl) -> str:
    """The name of the pod that leads. Beside it there may be one that a rollout has replaced."""
    await_leader(kubectl)
    lease = kubectl.get("lease", "sentinel-operator", namespace=NAMESPACE)
    assert lease is not None
    return str(lease["spec"]["holderIdentity"])


def scale_operator(kubectl: Kubectl, replicas: int, *, within: float = 240) -> None:
    """Have that many operators: wait until one leads, or until none is left."""
    deployment = "deployment/sentinel-operator"
    kubectl("scale", deployment, "-n", NAMESPACE, f"--replicas={replicas}")
    if replicas:
        await_leader(kubectl, within=within)
        return
    deadline = time.monotonic() + within
    while pods := kubectl.list("pods", namespace=NAMESPACE, selector=OPERATOR):
        if time.monotonic() > deadline:
            names = [pod["metadata"]["name"] for pod in pods]
            raise SystemExit(f"the operator is not gone after {within:.0f} s: {names}")
        time.sleep(0.5)


@contextmanager
def without_operator(kubectl: Kubectl) -> Iterator[None]:
    """No operator runs while the block does. Afterwards one leads, whatever happened."""
    try:
        scale_operator(kubectl, 0)
        yield
    finally:
        scale_operator(kubectl, 1)


def restore() -> None:
    """Install without what a test configured. Nothing happens where none did."""
    for lab in list(_configured):
        install(lab, quiet=True)


def render(lab: Lab, *values: str) -> str:
    """manifests/install.yaml: the chart with its default values, for people without helm; or with `values` (a.b=c)."""
    done = subprocess.run(
        [
            f"{lab.bin}/helm",
            "template",
            RELEASE,
            str(ROOT / "charts/sentinel"),
            # The pod of `helm test` is not part of an installation.
            "--skip-tests",
            "--namespace",
            NAMESPACE,
            *(f"--set={each}" for each in values),
        ],
        check=True,
        capture_output=True,
        text=True,
        env=environ(lab),
    )
    namespace = f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n"
    head = "# Rendered from charts/sentinel by `make manifests`; do not edit.\n"
    return head + namespace + done.stdout


if __name__ == "__main__":
    sys.stdout.write(render(Lab.load()))
