"""The chart as an SRE installs it: real helm, what it renders, what it refuses, with how little it runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.conftest import Builds, eventually
from tests.install import NAMESPACE, RELEASE, ROOT, environ, install, render
from tests.kubectl import Kubectl, KubectlError, condition
from tests.lab.state import Lab


def helm(lab: Lab, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [f"{lab.bin}/helm", *args],
        check=False,
        capture_output=True,
        text=True,
        env=environ(lab),
    )


def test_install_yaml_is_what_the_chart_renders(lab: Lab) -> None:
    assert (ROOT / "manifests/install.yaml").read_text() == render(lab)


def test_install_yaml_and_the_samples_are_accepted_by_the_server(
    sentinel: Lab, kubectl: Kubectl, namespace: str
) -> None:
    kubectl("apply", "--dry-run=server", "-f", str(ROOT / "manifests/install.yaml"))
    for sample in sorted((ROOT / "manifests/samples").glob("*.yaml")):
        kubectl(
            "apply", "--dry-run=server", "--validate=strict", "-n", namespace, "-f", str(sample)
        )


def test_the_chart_passes_helm_s_own_linter(lab: Lab) -> None:
    done = helm(lab, "lint", "--strict", str(ROOT / "charts/sentinel"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_value_that_does_not_exist_is_refused_by_name(lab: Lab) -> None:
    chart = str(ROOT / "charts/sentinel")
    done = helm(lab, "template", "x", chart, "--set", "operator.replicaCount=2")
    assert done.returncode != 0
    assert "replicaCount" in done.stderr


def test_everything_that_can_be_set_renders(lab: Lab, tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "namespaces": ["a", "b"],
        "image": {"tag": "1", "pullSecrets": [{"name": "pull"}]},
        "operator": {
            "replicas": 2,
            "nodeSelector": {"a": "b"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
            "podAnnotations": {"a": "b"},
            "extraEnv": [{"name": "A", "value": "b"}],
        },
        "agent": {
            "docker": {"enabled": True},
            "nodeSelector": {"a": "b"},
            "priorityClassName": "high",
            "podAnnotations": {"a": "b"},
            "extraEnv": [{"name": "A", "value": "b"}],
        },
        "store": {"bucket": "b", "endpoint": "https://s3", "existingSecret": "s", "prefix": "p"},
        "images": {"prefix": "r/b", "allowedRegistries": ["r"], "insecureRegistries": ["i:1"]},
        "crds": {"keep": False},
    }
    path = tmp_path / "values.yaml"
    path.write_text(json.dumps(values))
    done = helm(lab, "template", "x", str(ROOT / "charts/sentinel"), "-f", str(path))
    assert done.returncode == 0, done.stderr
    assert "helm.sh/resource-policy" not in done.stdout


def test_each_runtime_has_agents_of_its_own_on_nodes_of_its_own(lab: Lab) -> None:
    """Each sees the socket and the files of its own runtime only; their rights are the same."""
    chart = str(ROOT / "charts/sentinel")
    zone = {"key": "zone", "operator": "Exists"}
    required = {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    options = (
        *("--set", "agent.docker.enabled=true"),
        *("--set", "agent.nodeSelector.pool=builds"),
        *("--set-json", f"agent.affinity.nodeAffinity={json.dumps(affinity)}"),
    )
    done = helm(lab, "template", "sentinel", chart, *options)
    assert done.returncode == 0, done.stderr
    parts = [each for each in yaml.safe_load_all(done.stdout) if each]
    sets = {each["metadata"]["name"]: each for each in parts if each["kind"] == "DaemonSet"}
    containerd, docker = (sets[name] for name in ("sentinel-agent", "sentinel-agent-docker"))
    pods = [each["spec"]["template"]["spec"] for each in (containerd, docker)]
    paths = [
        [each["hostPath"]["path"] for each in pod["volumes"] if "hostPath" in each] for pod in pods
    ]
    assert paths == [
        ["/run/containerd", "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs"],
        ["/run/docker.sock", "/var/lib/docker/overlay2"],
    ]
    security = [pod["containers"][0]["securityContext"] for pod in pods]
    assert security[0] == security[1]
    (term,) = pods[0]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    label = "sentinel.wercker.com/runtime"
    elsewhere = {"key": label, "operator": "NotIn", "values": ["docker"]}
    assert term["matchExpressions"] == [zone, elsewhere]
    assert [pod["nodeSelector"] for pod in pods] == [
        {"kubernetes.io/os": "linux", "pool": "builds"},
        {"kubernetes.io/os": "linux", "pool": "builds", label: "docker"},
    ]
    assert containerd["spec"]["selector"] != docker["spec"]["selector"]


def test_the_operator_runs_with_nothing_it_does_not_need(sentinel: Lab, kubectl: Kubectl) -> None:
    selector = "app.kubernetes.io/component=operator"
    pod = kubectl.list("pods", namespace=NAMESPACE, selector=selector)[0]
    security = pod["spec"]["containers"][0]["securityContext"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_agent_has_two_capabilities_and_no_port(sentinel: Lab, kubectl: Kubectl) -> None:
    selector = "app.kubernetes.io/component=agent"
    pod = kubectl.list("pods", namespace=NAMESPACE, selector=selector)[0]
    container = pod["spec"]["containers"][0]
    assert container["securityContext"]["capabilities"] == {
        "add": ["DAC_READ_SEARCH", "SYS_ADMIN"],
        "drop": ["ALL"],
    }
    assert "privileged" not in container["securityContext"]
    assert "ports" not in container
    assert "hostNetwork" not in pod["spec"]


def test_only_the_operator_may_create_a_commit(sentinel: Lab, kubectl: Kubectl) -> None:
    for who, verb, what, expected in (
        ("sentinel-operator", "create", "imagecommits.sentinel.wercker.com", "yes"),
        ("sentinel-agent", "create", "imagecommits.sentinel.wercker.com", "no"),
        ("sentinel-agent", "get", "secrets", "no"),
        ("sentinel-agent", "create", "pods/exec", "no"),
        ("sentinel-operator", "list", "secrets", "no"),
        ("sentinel-operator", "update", "roles.rbac.authorization.k8s.io", "no"),
    ):
        account = f"system:serviceaccount:{NAMESPACE}:{who}"
        try:
            said = kubectl("auth", "can-i", verb, what, "--as", account, "-n", "default").strip()
        except Exception as e:  # "no" ends with code 1
            said = str(e)
        assert said == expected, (who, verb, what)


def leader(kubectl: Kubectl) -> str:
    """The pod that holds the Lease."""
    lease = kubectl.get("lease", "sentinel-operator", namespace=NAMESPACE)
    assert lease is not None
    return str(lease["spec"]["holderIdentity"])


def test_a_rollout_with_two_replicas_ends_and_an_operator_always_leads(builds: Builds) -> None:
    kubectl, deployment = builds.kubectl, "deployment/sentinel-operator"
    install(builds.lab, quiet=True, more={"operator.replicas": "2"})  # helm upgrade --wait
    selector = "app.kubernetes.io/component=operator"
    pods = kubectl.list("pods", namespace=NAMESPACE, selector=selector)
    assert len(pods) == 2
    for pod in pods:
        # The agents have no port, the operators this one; livez also says what is wrong.
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}:8080/proxy"
        assert kubectl("get", "--raw", f"{path}/livez") == "ok"
        expected = "leading" if pod["metadata"]["name"] == leader(kubectl) else "standby"
        eventually(
            lambda path=path, expected=expected: (
                kubectl("get", "--raw", f"{path}/readyz") == expected
            )
        )

    done = helm(builds.lab, "test", RELEASE, "--namespace", NAMESPACE, "--timeout", "240s")
    assert done.returncode == 0, done.stdout + done.stderr

    # An image that cannot be pulled: the operators that run go on.
    kubectl("set", "image", deployment, "-n", NAMESPACE, "*=registry.invalid/sentinel:none")
    try:
        kubectl.wait_for(
            "deployment",
            "sentinel-operator",
            namespace=NAMESPACE,
            until=lambda raw: raw["status"].get("unavailableReplicas") == 1,
        )
        assert leader(kubectl) in {pod["metadata"]["name"] for pod in pods}
        # Those that run: a busy machine may answer a probe too late, but they stay.
        kubectl.wait_for(
            "deployment",
            "sentinel-operator",
            namespace=NAMESPACE,
            until=lambda raw: raw["status"].get("readyReplicas") == 2,
        )
        running = kubectl.list("pods", namespace=NAMESPACE, selector=selector)
        assert {pod["metadata"]["uid"] for pod in pods} < {
            pod["metadata"]["uid"] for pod in running
        }
    finally:
        kubectl("rollout", "undo", deployment, "-n", NAMESPACE)

    # As a drain does: the standby takes over, and builds.
    old = leader(kubectl)
    kubectl("delete", "pod", old, "-n", NAMESPACE, "--wait=false")
    kubectl.wait_for(
        "lease",
        "sentinel-operator",
        namespace=NAMESPACE,
        until=lambda raw: raw["spec"]["holderIdentity"] not in ("", old),
    )
    builds.apply("b", url=builds.script("echo built"))
    assert builds.finish("b")["status"]["phase"] == "Succeeded"


def test_the_probes_of_the_agent_pass_and_fail_without_a_touch_of_its_file(
    sentinel: Lab, kubectl: Kubectl
) -> None:
    pod = kubectl.list("pods", namespace=NAMESPACE, selector="app.kubernetes.io/component=agent")[0]
    name = pod["metadata"]["name"]
    probes = pod["spec"]["containers"][0]
    # helm does not wait for the one agent of a cluster with one node.
    kubectl.wait_for(
        "pod",
        name,
        namespace=NAMESPACE,
        until=lambda raw: condition(raw, "Ready").get("status") == "True",
    )
    for probe in ("livenessProbe", "readinessProbe"):
        kubectl("exec", "-n", NAMESPACE, name, "--", *probes[probe]["exec"]["command"])
    # An hour without a touch, which is what a stuck agent looks like.
    script = probes["livenessProbe"]["exec"]["command"][2].replace("/var/spool/sentinel", "/tmp")
    with pytest.raises(KubectlError):
        kubectl(
            *("exec", "-n", NAMESPACE, name, "--"),
            *("sh", "-c", f"touch -d '1 hour ago' /tmp/alive && {script}"),
        )
