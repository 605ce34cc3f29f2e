"""The pod that builds an image: buildctl, in the release's namespace, where no tenant reaches it. Pure.

An init container of our own image fetches the build context from the object store and unpacks it, with the bounds of
any archive; then buildctl sends it to BuildKit and pushes the image. Everything that may hold a secret (its words, the
context's URL, registry logins) is in a Secret that the pod owns. The image's digest is its termination message.

Not here: creating and following it (`imagebuild.py`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from sentinel.layout import LOGIN_DIR, PYTHON, TLS_DIR, TMP_DIR
from sentinel.network import Policy
from sentinel.plan.model import Plan, PlanStep
from sentinel.plan.names import (
    ATTEMPT_LABEL,
    BUILD_LABEL,
    FETCH_VARIABLE,
    UID_LABEL,
    label_value,
)
from sentinel.plan.pod import proxies
from sentinel.settings import Settings

Object = dict[str, Any]

BUILD = "build"
CONTEXT = "context"
"""The pod's containers."""

COMPONENT = "app.kubernetes.io/component"
IMAGE_BUILD = "image-build"
USER = 65532
"""Uid and gid of buildctl: never root."""

BUILDERS = f"{COMPONENT}={IMAGE_BUILD},{UID_LABEL}"
"""The label selector of these pods."""

CONTEXT_DIR = "/context/source"
UNPACKED_MIB = 2048 + 64
"""What the fetcher unpacks at most (`source.packed.ArchiveLimits`), and room for directories."""

LONGEST_SECONDS = 6 * 3600
"""Of an image build whose step has no timeout."""

_SCRIPT = (
    'buildctl "$@" --metadata-file=/tmp/image.json && cat /tmp/image.json > /dev/termination-log'
)
_ANYWHERE = Policy.make(allowed=["0.0.0.0/0", "::/0"])
_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def make_builder(
    plan: Plan,
    step: PlanStep,
    *,
    settings: Settings,
    words: Sequence[str],
    url: str,
    sha256: str,
    login: str,
    policy: str = "",
) -> tuple[Object, Object]:
    """The pod and its Secret, still without its owner. `words` are buildctl's; `url` and `sha256` the context's.

    `login` is a docker config.json, `policy` a source policy or "".
    """
    buildkit = settings.engine.buildkit
    name = plan.id.image_build(step.ordinal)
    labels = {
        "app.kubernetes.io/name": "sentinel",
        COMPONENT: IMAGE_BUILD,
        BUILD_LABEL: label_value(plan.build),
        UID_LABEL: plan.uid,
        ATTEMPT_LABEL: str(plan.attempt),
    }
    metadata = {"name": name, "namespace": settings.pod_namespace, "labels": labels}
    fetch = {
        "url": url,
        "sha256": sha256,
        "dest": CONTEXT_DIR,
        # Our own store, which may be a Service of the cluster.
        "network": _ANYWHERE.to_json(),
        **({"ca": settings.store.ca} if settings.store.ca else {}),
    }
    data = {
        "fetch": json.dumps(fetch),
        "config.json": login,
        **({"policy.json": policy} if policy else {}),
        **{f"word{number}": word for number, word in enumerate(words)},
    }
    secret: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "data": {
            key: base64.b64encode(text.encode("utf-8", "replace")).decode()
            for key, text in data.items()
        },
    }
    deadline = step.command_timeout + 120 if step.command_timeout > 0 else LONGEST_SECONDS
    spec: Object = {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "activeDeadlineSeconds": int(deadline),
        "terminationGracePeriodSeconds": 5,
        "nodeSelector": {**buildkit.node_selector, "kubernetes.io/os": "linux"},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {
                "name": "context",
                "emptyDir": {"sizeLimit": f"{buildkit.context_mib + UNPACKED_MIB}Mi"},
            },
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "tls", "secret": {"secretName": buildkit.tls_secret, "defaultMode": 0o440}},
            {
                "name": "login",
                "secret": {
                    "secretName": name,
                    "defaultMode": 0o440,
                    "items": [{"key": key, "path": key} for key in data if key.endswith(".json")],
                },
            },
        ],
        "initContainers": [_context(name, settings)],
        "containers": [_build(plan, name, settings, words=len(words), policy=bool(policy))],
    }
    if buildkit.pull_secrets:
        spec["imagePullSecrets"] = buildkit.pull_secrets
    if buildkit.tolerations:
        spec["tolerations"] = buildkit.tolerations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, secret


def owned_by(secret: Object, pod: Object) -> Object:
    """The Secret as it goes when the pod goes."""
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": pod["metadata"]["name"],
        "uid": pod["metadata"]["uid"],
    }
    return {**secret, "metadata": {**secret["metadata"], "ownerReferences": [owner]}}


def _context(name: str, settings: Settings) -> Object:
    return {
        "name": CONTEXT,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": [PYTHON, "-I", "-m", "sentinel.source.fetch"],
        "env": [_from_secret(FETCH_VARIABLE, name, "fetch"), *proxies(settings)],
        "volumeMounts": [
            {"name": "context", "mountPath": "/context"},
            {"name": "tmp", "mountPath": TMP_DIR},
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": settings.source.resources,
        "securityContext": _SECURITY,
    }


def _build(plan: Plan, name: str, settings: Settings, *, words: int, policy: bool) -> Object:
    buildkit = settings.engine.buildkit
    return {
        "name": BUILD,
        "image": buildkit.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", _SCRIPT, "buildctl"],
        "args": [
            f"--addr={buildkit.address.replace('{namespace}', plan.namespace)}",
            f"--tlscacert={TLS_DIR}/ca.crt",
            f"--tlscert={TLS_DIR}/tls.crt",
            f"--tlskey={TLS_DIR}/tls.key",
            # The kubelet puts the words in: in the pod's spec they could be read.
            *(f"$(WORD{number})" for number in range(words)),
            *([f"--source-policy-file={LOGIN_DIR}/policy.json"] if policy else []),
        ],
        "env": [
            {"name": "HOME", "value": TMP_DIR},
            {"name": "DOCKER_CONFIG", "value": LOGIN_DIR},
            *(_from_secret(f"WORD{number}", name, f"word{number}") for number in range(words)),
        ],
        "volumeMounts": [
            {"name": "context", "mountPath": "/context", "readOnly": True},
            {"name": "tmp", "mountPath": TMP_DIR},
            {"name": "tls", "mountPath": TLS_DIR, "readOnly": True},
            {"name": "login", "mountPath": LOGIN_DIR, "readOnly": True},
        ],
        "resources": buildkit.resources,
        "securityContext": _SECURITY,
    }


def _from_secret(variable: str, secret: str, key: str) -> Object:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
