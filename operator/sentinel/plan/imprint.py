"""A digest of what a pod's spec lets its containers do, the same for the spec that we send and the one that is stored.

The server fills in defaults, and admission adds to a spec: sidecars, tolerations, limits, hardening, mirrors' image
names. None of that changes the digest. What does: other commands, other sources of our volumes, another service
account, the host's namespaces, more privileges, another source to fetch. (`docs/design/2026-11-28-trust.md`)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sentinel.plan.model import Plan
from sentinel.plan.names import BOX, FETCH_VARIABLE, SOURCE

Json = Mapping[str, Any]

_VOLUMES = frozenset(
    {"wercker", "kit", "session", "pipeline", "report", "base", "git", "steps", "cache", "outputs"}
)
"""The names of the volumes that `plan/pod.py` makes."""


def pod_imprint(spec: Json, plan: Plan) -> str:
    """The digest, in hexadecimal digits, of what matters in `spec` of the containers that `plan` has."""
    ours = {BOX, SOURCE, *(service.container for service in plan.services)}
    volumes = {each.get("name"): each for each in _items(spec, "volumes")}
    containers = [*_items(spec, "initContainers"), *_items(spec, "containers")]
    matter = {
        "host": [bool(spec.get(field)) for field in ("hostNetwork", "hostPID", "hostIPC")],
        "account": spec.get("serviceAccountName") or "default",
        "token": spec.get("automountServiceAccountToken") is not False,
        "containers": sorted(
            (_container(each, volumes) for each in containers if each.get("name") in ours),
            key=lambda each: str(each["name"]),
        ),
    }
    text = json.dumps(matter, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _container(container: Json, volumes: Mapping[Any, Json]) -> dict[str, Any]:
    return {
        "name": container.get("name"),
        "command": container.get("command") or [],
        "args": container.get("args") or [],
        "fetch": [
            each.get("value", "")
            for each in _items(container, "env")
            if each.get("name") == FETCH_VARIABLE
        ],
        "mounts": sorted(
            [str(mount.get("mountPath")), _origin(volumes.get(mount["name"]) or {})]
            for mount in _items(container, "volumeMounts")
            if mount.get("name") in _VOLUMES
        ),
        "raised": _raised(container.get("securityContext") or {}),
    }


def _origin(volume: Json) -> str:
    """Where a volume's files come from."""
    if "emptyDir" in volume:
        return "emptyDir"
    if "secret" in volume:
        return f"secret/{(volume['secret'] or {}).get('secretName')}"
    if "configMap" in volume:
        return f"configMap/{(volume['configMap'] or {}).get('name')}"
    return "other"


def _raised(security: Json) -> list[str]:
    """What a security context allows beyond what a container has by default."""
    raised = [
        field for field in ("privileged", "allowPrivilegeEscalation") if security.get(field) is True
    ]
    raised += [f"add {name}" for name in (security.get("capabilities") or {}).get("add") or ()]
    for field in ("seccompProfile", "appArmorProfile"):
        if (security.get(field) or {}).get("type") == "Unconfined":
            raised.append(f"{field} Unconfined")
    if security.get("procMount") not in (None, "", "Default"):
        raised.append(f"procMount {security['procMount']}")
    return sorted(raised)


def _items(of: Json, field: str) -> Iterable[Json]:
    return of.get(field) or ()
