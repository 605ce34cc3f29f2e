"""The kind cluster: creating it, its names, and what tests need it to be.

kind does the work; this module says how the cluster differs from kind's default: an audit log,
limits that tests do not run into, names for the lab's servers, and no resolver outside.
"""

from __future__ import annotations

import json
import os

from tests.lab.engine import Engine
from tests.lab.gobuild import KIND, build
from tests.lab.shell import run, stage, succeeds, wait_for
from tests.lab.state import BIN, CLUSTER, KUBECONFIG, NAMES, REGISTRY, STATE

AUDIT = STATE / "audit"
AUDIT_LOG = AUDIT / "audit.log"
CERTS = STATE / "certs.d"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    # Who did what to which object when; never bodies, which hold Secrets.
    "rules": [{"level": "Metadata"}],
}
COREFILE = """\
cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {{
    errors
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
       pods insecure
       ttl 5
    }}
    cache 5
}}
lab:53 {{
    errors
    hosts {{
       {address} {names}
       ttl 5
    }}
}}
.:53 {{
    errors
    health
    prometheus :9153
    template ANY ANY {{
       rcode NXDOMAIN
    }}
    reload 2s
}}
"""
"""kubeadm's Corefile without forwarding: there is no outside, and an unknown name says so."""


def _config(image: str) -> dict[str, object]:
    """kind's configuration file. JSON is YAML, so it is handed over as JSON."""
    workers = int(os.environ.get("SENTINEL_LAB_WORKERS") or 0)
    certs = {"hostPath": str(CERTS), "containerPath": "/etc/containerd/certs.d"}
    audit = {"hostPath": str(AUDIT), "containerPath": "/var/log/audit"}
    control_plane = {
        "kind": "ClusterConfiguration",
        "apiServer": {
            "extraArgs": {
                "audit-policy-file": "/var/log/audit/policy.json",
                "audit-log-path": "/var/log/audit/audit.log",
                "audit-log-mode": "blocking",
                # Tests make many requests from one address at once.
                "max-requests-inflight": "800",
                "max-mutating-requests-inflight": "400",
            },
            "extraVolumes": [
                {
                    "name": "audit",
                    "hostPath": "/var/log/audit",
                    "mountPath": "/var/log/audit",
                    "pathType": "Directory",
                }
            ],
        },
        # 300 pods a node do not fit into the 254 addresses of the default /24.
        "controllerManager": {"extraArgs": {"node-cidr-mask-size": "23"}},
    }
    kubelet = {
        "kind": "KubeletConfiguration",
        "podPidsLimit": 2048,
        "maxPods": 300,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
    }
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "containerdConfigPatches": [
            '[plugins."io.containerd.grpc.v1.cri".registry]\n'
            '  config_path = "/etc/containerd/certs.d"\n'
        ],
        "kubeadmConfigPatches": [json.dumps(control_plane), json.dumps(kubelet)],
        "nodes": [
            {"role": "control-plane", "image": image, "extraMounts": [certs, audit]},
            *({"role": "worker", "image": image, "extraMounts": [certs]} for _ in range(workers)),
        ],
    }


def create(engine: Engine, image: str) -> None:
    """Create the cluster and wait until its nodes are Ready and its names resolve."""
    AUDIT.mkdir(parents=True, exist_ok=True)
    (AUDIT / "policy.json").write_text(json.dumps(AUDIT_POLICY))
    mirror = CERTS / REGISTRY
    mirror.mkdir(parents=True, exist_ok=True)
    (mirror / "hosts.toml").write_text(
        f'server = "http://{REGISTRY}"\n\n[host."http://{REGISTRY}"]\n'
        '  capabilities = ["pull", "resolve", "push"]\n'
    )
    with stage("create the kind cluster"):
        kind(
            engine,
            *("create", "cluster", "--name", CLUSTER, "--image", image),
            *("--kubeconfig", str(KUBECONFIG), "--config", "-"),
            stdin=json.dumps(_config(image)),
        )
        _name_servers(engine)
    with stage("wait for nodes and names"):
        kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=300s")
        dns = ("rollout", "status", "deployment/coredns", "-n", "kube-system", "--timeout=300s")
        kubectl(*dns)
        account = ("get", "serviceaccount", "default", "-n", "default")
        wait_for("the default service account", lambda: _answers(*account), seconds=240)


def kind(engine: Engine, *args: str, stdin: str | None = None, check: bool = True) -> str:
    """Run kind against the lab's engine."""
    return run(build(KIND), *args, env=engine.environ(), stdin=stdin, check=check)


def kubectl(*args: str, stdin: str | None = None) -> str:
    """Run kubectl against the lab's cluster."""
    return run(BIN / "kubectl", *args, env={"KUBECONFIG": str(KUBECONFIG)}, stdin=stdin)


def _answers(*args: str) -> bool:
    return succeeds(BIN / "kubectl", *args, env={"KUBECONFIG": str(KUBECONFIG)})


def nodes(engine: Engine) -> list[str]:
    """Names of the cluster's node containers that run."""
    label = f"label=io.x-k8s.kind.cluster={CLUSTER}"
    return engine.docker("ps", "-f", label, "--format", "{{.Names}}").split()


def alive(engine: Engine) -> bool:
    """Whether the cluster's API server answers and says that it is ready."""
    return bool(nodes(engine)) and _answers("get", "--raw", "/readyz", "--request-timeout=30s")


def _name_servers(engine: Engine) -> None:
    """Make the lab's names known on nodes (their hosts file) and in pods (CoreDNS)."""
    address = engine.gateway()
    line = f"{address} {' '.join(NAMES)}\n"
    for node in nodes(engine):
        engine.docker("exec", "-i", node, "tee", "-a", "/etc/hosts", stdin=line)
    corefile = COREFILE.format(address=address, names=" ".join(NAMES))
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "coredns", "namespace": "kube-system"},
        "data": {"Corefile": corefile},
    }
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(settings))
    # A new template: pods that began with the old file are replaced. One of them is enough.
    probe = {"name": "coredns", "readinessProbe": {"periodSeconds": 1}}
    template = {
        "metadata": {"annotations": {"lab/corefile": address}},
        "spec": {"containers": [probe]},
    }
    patch = {"spec": {"replicas": 1, "template": template}}
    kubectl("-n", "kube-system", "patch", "deployment", "coredns", "-p", json.dumps(patch))


def delete(engine: Engine) -> None:
    """Delete the cluster, if there is one."""
    kind(engine, "delete", "cluster", "--name", CLUSTER, "--kubeconfig", str(KUBECONFIG))


def load(engine: Engine, *images: str) -> None:
    """Load images from the engine into every node, as `kind load docker-image` does."""
    kind(engine, "load", "docker-image", "--name", CLUSTER, *images)
