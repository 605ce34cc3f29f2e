"""What a Build may say about its pod and its times: closed by default, opened by the operator's `pods.*` settings.

A Build's author may have no rights on pods at all, and the operator creates the pod with its own: whatever reaches past
the namespace or the container is refused here, before a pod exists. A namespace's Pod Security level still applies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

from sentinel.api import GROUP
from sentinel.api.build import Build, PodContainer, PodSettings
from sentinel.api.crd import structural
from sentinel.api.model import seconds
from sentinel.api.podshape import unknown_fields
from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.plan.names import MANAGED_BY
from sentinel.settings import Settings
from sentinel.settings.pods import PodPolicy

SHOWN = 8
"""Problems that one message names."""

_SCHEMA = structural(PodSettings.model_json_schema(by_alias=True))


def check_pod(build: Build, settings: Settings) -> None:
    """Raises UserError InvalidSpec naming each field of `spec.pod` that is unknown or not allowed."""
    pod = build.spec.pod
    stated = pod.model_dump(by_alias=True, exclude_unset=True)
    found = list(islice(_problems(pod, stated, settings.pods), SHOWN + 1))
    if found:
        more = ["…"] if len(found) > SHOWN else []
        raise UserError("; ".join([*found[:SHOWN], *more]), reason=Reason.INVALID_SPEC)


def _problems(pod: PodSettings, stated: Mapping[str, Any], policy: PodPolicy) -> Iterator[str]:
    for path, near in unknown_fields(stated, _SCHEMA, "spec.pod"):
        yield f"{path[:300]}: there is no such field" + (f"; did you mean {near}?" if near else "")
    yield from _names(pod, policy)
    for index, toleration in enumerate(pod.tolerations):
        key = str(toleration.get("key") or "")
        if not _matches(key or "*", policy.tolerations):
            yield (
                f"spec.pod.tolerations[{index}]: "
                + (f"taint {key!r} is" if key else "tolerating every taint is")
                + f" not allowed{_by('pods.tolerations', policy.tolerations)}"
            )
    for kind, keys, prefixes in (
        ("labels", pod.labels, policy.label_prefixes),
        ("annotations", pod.annotations, policy.annotation_prefixes),
    ):
        for key in keys:
            yield from _key(kind, key, prefixes)
    yield from _container("spec.pod.box", pod.box)
    for alias, service in pod.services.items():
        yield from _container(f"spec.pod.services.{alias[:100]}", service)


def _names(pod: PodSettings, policy: PodPolicy) -> Iterator[str]:
    for field, name, setting, allowed in (
        (
            "serviceAccountName",
            pod.service_account_name,
            "serviceAccounts",
            policy.service_accounts,
        ),
        ("priorityClassName", pod.priority_class_name, "priorityClasses", policy.priority_classes),
        ("runtimeClassName", pod.runtime_class_name, "runtimeClasses", policy.runtime_classes),
    ):
        if name and not _matches(name, allowed):
            yield f"spec.pod.{field}: {name!r} is not allowed{_by(f'pods.{setting}', allowed)}"
    if pod.automount_service_account_token and not pod.service_account_name:
        yield (
            "spec.pod.automountServiceAccountToken: only with a spec.pod.serviceAccountName that the operator's "
            "setting pods.serviceAccounts allows"
        )


def _key(kind: str, key: str, prefixes: Sequence[str]) -> Iterator[str]:
    domain = key.partition("/")[0]
    if domain == GROUP or domain.endswith(f".{GROUP}") or key == MANAGED_BY:
        yield f"spec.pod.{kind}: {key!r} is Sentinel's own"
    elif not any(key.startswith(prefix) for prefix in prefixes):
        setting = {"labels": "labelPrefixes", "annotations": "annotationPrefixes"}[kind]
        yield f"spec.pod.{kind}: {key[:300]!r} is not allowed{_by(f'pods.{setting}', prefixes)}"


def _container(path: str, container: PodContainer) -> Iterator[str]:
    if container.resources.get("claims"):
        yield f"{path}.resources.claims: not allowed in builds"
    context = container.security_context
    for name, value in context.items():
        if name not in _SCHEMA["properties"]["box"]["properties"]["securityContext"]["properties"]:
            continue  # unknown, and reported as such
        why = _refused(name, value)
        if why:
            yield f"{path}.securityContext.{why}"


def _refused(name: str, value: Any) -> str:
    """What of one field of a security context is not allowed, and what is; "" where it is fine."""
    if name in ("runAsUser", "runAsGroup", "runAsNonRoot", "readOnlyRootFilesystem"):
        return ""
    if name in ("allowPrivilegeEscalation", "privileged"):
        return "" if value is False else f"{name}: only false is allowed in builds"
    inner = value if isinstance(value, Mapping) else {}
    if name == "capabilities":
        return "capabilities.add: not allowed in builds; only drop is" if inner.get("add") else ""
    if name == "seccompProfile":
        fine = inner.get("type") == "RuntimeDefault" and not inner.get("localhostProfile")
        return "" if fine else "seccompProfile: only type: RuntimeDefault is allowed in builds"
    return f"{name}: not allowed in builds"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _by(setting: str, allowed: Sequence[str]) -> str:
    return f" by the operator's setting {setting} ({', '.join(allowed[:8]) or 'none'})"


HOUR = 3600
LONGEST = {
    "timeouts.pending": 24 * HOUR,
    "timeouts.build": 7 * 24 * HOUR,
    "timeouts.command": 7 * 24 * HOUR,
    "timeouts.noResponse": 7 * 24 * HOUR,
    "ttlAfterFinished": 366 * 24 * HOUR,
}
"""Field of the spec → seconds that it may be at most."""


def check_durations(build: Build) -> None:
    """Raises UserError InvalidSpec naming each duration that is 0 where that means nothing, or too long."""
    timeouts = build.spec.timeouts
    stated = {
        "timeouts.pending": timeouts.pending,
        "timeouts.build": timeouts.build,
        "timeouts.command": timeouts.command,
        "timeouts.noResponse": timeouts.no_response,
        "ttlAfterFinished": build.spec.ttl_after_finished,
    }
    problems = []
    for field, text in stated.items():
        if text is None:
            continue
        value, longest = seconds(text), LONGEST[field]
        if value > longest:
            problems.append(
                f"spec.{field}: {text} is longer than {longest // HOUR}h, the most it can be"
            )
        elif value < 1 and field != "ttlAfterFinished":
            problems.append(
                f"spec.{field}: {text} is shorter than 1s; leave the field out for its default"
            )
    if problems:
        raise UserError("; ".join(problems), reason=Reason.INVALID_SPEC)
