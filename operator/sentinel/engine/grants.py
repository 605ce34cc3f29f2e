"""What lets the node's agent read the Secrets of one commit, each by its name: a Role and its binding.

Both are owned by the ImageCommit and go with it. Their name is a function of what they grant and to whom, so one that
exists already is the same grant. Not here: asking for the commit (`commit.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sentinel.api import API_VERSION
from sentinel.engine.attempt import Attempt
from sentinel.engine.create import create
from sentinel.kube.errors import AlreadyExists
from sentinel.kube.resources import ROLE_BINDINGS, ROLES

_MOST = 16
"""As many as an ImageCommit may name."""

_RBAC = "rbac.authorization.k8s.io"

Json = dict[str, Any]


async def let_agent_read(
    attempt: Attempt, secrets: Sequence[str], *, commit: Json, within: float
) -> None:
    """Grant the agents' account `get` on these Secrets of the ImageCommit's namespace, as long as `commit` exists.

    Raises as `create` does.
    """
    names = sorted({name for name in secrets if name})
    if not names:
        return
    account, home = (
        attempt.tools.settings.agent_service_account,
        attempt.tools.settings.pod_namespace,
    )
    for resource, body in zip(
        (ROLES, ROLE_BINDINGS), grant(names, commit=commit, account=account, home=home), strict=True
    ):
        try:
            await create(attempt.run, resource, body, within=within)
        except AlreadyExists:
            continue


def pull_secrets(attempt: Attempt) -> list[str]:
    """The Secrets that the box's image is pulled with, by the kubelet, and so by those who read its layers."""
    of_pod = (ref.name for ref in attempt.build.spec.pod.image_pull_secrets)
    return list(dict.fromkeys((*attempt.plan.image.pull_secrets, *of_pod)))[:_MOST]


def grant(names: Sequence[str], *, commit: Json, account: str, home: str) -> tuple[Json, Json]:
    """The Role and its RoleBinding for the service account `account` of namespace `home`."""
    owner = commit["metadata"]
    what = json.dumps([owner["uid"], names, account, home])
    metadata = {
        "name": f"{owner['name']}-{hashlib.sha256(what.encode()).hexdigest()[:8]}",
        "namespace": owner["namespace"],
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": "ImageCommit",
                "name": owner["name"],
                "uid": owner["uid"],
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }
    role = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "Role",
        "metadata": metadata,
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["secrets"],
                "resourceNames": list(names),
                "verbs": ["get"],
            }
        ],
    }
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": metadata["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": home}],
    }
    return role, binding
