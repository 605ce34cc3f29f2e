"""The API server's refusal of an object that a build needs → whose fault it is, whether it may pass, and what to do.

One table for everything the engine creates. The words are those of the API server and its admission plugins
(ResourceQuota, LimitRanger, ServiceAccount, PodSecurity, webhooks, NamespaceLifecycle); Kubernetes 1.30 to 1.35 agree
on them. Not here: waiting, and retries of answers that carry no verdict (429, 5xx).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sentinel.api.reasons import Reason
from sentinel.plan.names import BOX, SOURCE

FOREVER = float("inf")
"""A grace that only the caller's own timeout ends."""

ACCOUNT_GRACE = 10.0
"""Seconds that a named service account may take to appear after a Build that was applied together with it."""

RIGHTS_GRACE = 30.0
"""Seconds until the API server must know our rights: one that has just started has not read them yet."""

_QUOTA = re.compile(r"exceeded quota: (\S+?),")
_UNLIMITED = re.compile(r"failed quota: \S+ must specify (.+)$", re.DOTALL)
_MUST_SPECIFY = re.compile(r"([a-z./-]+) for: ([a-z0-9,-]+)")
_ACCOUNT = re.compile(r"service ?account \"?(?:[^\s\"/]+/)?([^\s\":]+)\"? not found", re.IGNORECASE)
_NO_RIGHT = re.compile(
    r"^.*?(?:User \"[^\"]*\" cannot \w+ resource|attempting to grant RBAC permissions not currently held)",
    re.DOTALL,
)
_TERMINATING = re.compile(r"because it is being terminated|^namespaces \"[^\"]+\" not found")
_RESOURCES = re.compile(
    r"quota: |\b(cpu|memory|ephemeral-storage)\b.*\b(limit|request|usage)|\b(limit|request)s?\b.*\b(cpu|memory)\b",
    re.DOTALL,
)
_UNKNOWN = re.compile(r"unknown field \"([^\"]{1,300})\"")
_INDEXED = re.compile(r"spec\.(initContainers|containers)\[(\d+)\]")
_WEBHOOK = re.compile(r"admission webhook \"([^\"]+)\" denied the request")
_SERVICE = re.compile(r"service-\d+-(.+)")

_SECURITY_FIELDS = {
    "allowPrivilegeEscalation": "allowPrivilegeEscalation: false",
    "capabilities": "capabilities: {drop: [ALL]}",
    "runAsNonRoot": "runAsNonRoot: true",
    "runAsUser": "runAsUser: <a number other than 0>",
    "seccompProfile": "seccompProfile: {type: RuntimeDefault}",
}
"""Fields that PodSecurity asks for → what to write."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """An object that was refused: how messages call it, and, for a pod, its containers by kind and index.

    `aliases` maps the containers of services to their names in spec.pod.services.
    """

    kind: str
    name: str
    containers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def field_of(self, container: str) -> str:
        """The field of the Build that describes a container, or the operator's setting."""
        return field_of(container, self.aliases)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why an object was not created. `wait`: it may pass within `grace` seconds; `fail`: it will not; `gone`: its
    namespace is being deleted, and the Build with it.

    `resources`: it was about cpu, memory or a quota, so that another choice of our own defaults may be accepted.
    `message` quotes the API server and says what to do.
    """

    reason: Reason
    message: str
    verdict: Literal["wait", "fail", "gone"]
    grace: float = 0.0
    resources: bool = False


def refused(body: Mapping[str, Any], *, aliases: Mapping[str, str] | None = None) -> Refused:
    """What `classify_refusal` has to know of an object."""
    spec = body.get("spec") or {}
    return Refused(
        kind=str(body["kind"]),
        name=str(body["metadata"]["name"]),
        containers={
            kind: [each["name"] for each in spec.get(kind) or []]
            for kind in ("initContainers", "containers")
        },
        aliases=aliases or {},
    )


def classify_refusal(status: int, text: str, of: Refused) -> Refusal:
    """What a 4xx answer to a creation means: HTTP `status` and the Status's message.

    409 is the caller's: the object is there already.
    """
    if status in (403, 404) and _TERMINATING.search(text):
        return Refusal(reason=Reason.CANCELLED, message=text, verdict="gone")
    about_resources = status in (403, 422) and _RESOURCES.search(text) is not None
    if status == 403 and (quota := _QUOTA.search(text)):
        return Refusal(
            reason=Reason.QUOTA_EXCEEDED,
            message=f"{of} has to wait for the namespace's quota: {text}. {_quota_remedy(quota[1], of)}",
            verdict="wait",
            grace=FOREVER,
            resources=True,
        )
    if status in (403, 422) and (account := _ACCOUNT.search(text)):
        return _no_account(account[1], text)
    if status == 403 and _NO_RIGHT.match(text):
        return Refusal(
            reason=Reason.INTERNAL,
            message=f"the operator is not allowed to create {of}: {text}. Upgrade the release's RBAC together with its "
            "image",
            verdict="wait",
            grace=RIGHTS_GRACE,
        )
    if status == 400 and "strict decoding error" in text and (unknown := _UNKNOWN.findall(text)):
        fields = ", ".join(_field_of_path(each, of) for each in unknown[:8])
        return Refusal(
            reason=Reason.INVALID_SPEC,
            message=f"this cluster's Kubernetes has no such field: {fields}. Correct or remove it",
            verdict="fail",
        )
    remedy = _remedy(text, of)
    return Refusal(
        reason=Reason.ADMISSION_DENIED,
        message=f"the cluster denied {of}: HTTP {status}: {text}{remedy and f'. {remedy}'}",
        verdict="fail",
        resources=about_resources,
    )


def field_of(container: str, aliases: Mapping[str, str] | None = None) -> str:
    """The field of a Build that describes a container of its pod; the operator's setting for our own container."""
    if container == SOURCE:
        return "source.resources of the operator"
    if container == BOX:
        return "spec.pod.box"
    slug = _SERVICE.fullmatch(container)
    name = (aliases or {}).get(container, slug[1] if slug else container)
    return f"spec.pod.services.{name}"


def _field_of_path(path: str, of: Refused) -> str:
    """A field of the pod as the Build's: `spec.containers[0].resources.limit`, `spec.affinity.x`."""
    indexed = _INDEXED.match(path)
    if indexed is None:
        return f"spec.pod.{path.removeprefix('spec.')}"
    names = of.containers.get(indexed[1], ())
    if int(indexed[2]) >= len(names):
        return path
    return f"{of.field_of(names[int(indexed[2])])}{path[indexed.end() :]}"


def user_remedy(text: str, container: str) -> str:
    """What to do where the kubelet refuses a container for its user ("" where that is not the matter)."""
    if "runAsNonRoot" not in text and "non-root policy" not in text:
        return ""
    where = f"{field_of(container)}.securityContext"
    named = re.search(r"non-numeric user \(([^)]*)\)", text)
    if named:
        return (
            f"The image's USER is a name, so the kubelet cannot verify that it is not root: use a number, "
            f"{where}.runAsUser (`id -u {named[1]}` in the image prints it)"
        )
    if "non-root policy" in text:
        return f"{where} has runAsNonRoot and runAsUser: 0: choose another user or leave out runAsNonRoot"
    return f"Set {where}.runAsUser to a number other than 0, or leave out runAsNonRoot"


def _no_account(name: str, text: str) -> Refusal:
    if name == "default":
        return Refusal(
            reason=Reason.SERVICE_ACCOUNT_MISSING,
            message=f"{text}. The cluster makes this account shortly after the namespace: waiting",
            verdict="wait",
            grace=FOREVER,
        )
    return Refusal(
        reason=Reason.SERVICE_ACCOUNT_MISSING,
        message=f"{text}. Create it, or change spec.pod.serviceAccountName",
        verdict="wait",
        grace=ACCOUNT_GRACE,
    )


def _quota_remedy(quota: str, of: Refused) -> str:
    lower = ", lower the resources in spec.pod" if of.kind == "Pod" else ""
    return (
        f"Raise ResourceQuota {quota}{lower}, or wait until other objects of the namespace are gone"
    )


def _remedy(text: str, of: Refused) -> str:
    if unlimited := _UNLIMITED.search(text):
        return _limits_remedy(unlimited[1], of)
    if "violates PodSecurity" in text:
        return _security_remedy(text, of)
    if webhook := _WEBHOOK.search(text):
        return f"Webhook {webhook[1]} of the cluster denied it: change the Build as it asks"
    if indexed := _INDEXED.search(text):
        names = of.containers.get(indexed[1], ())
        if int(indexed[2]) < len(names) and ".resources" in text:
            where = of.field_of(names[int(indexed[2])])
            return (
                f"A LimitRange of the namespace may set the limit: set {_resources(where)}, or change the LimitRange "
                "(`kubectl describe limitrange`)"
            )
    if re.search(
        r"(minimum|maximum) \S+ usage per (Container|Pod)|max limit to request ratio", text
    ):
        return (
            "A LimitRange of the namespace forbids it: set spec.pod.box.resources (and those of spec.pod.services) "
            "within its bounds (`kubectl describe limitrange`)"
        )
    return ""


def _limits_remedy(wanted: str, of: Refused) -> str:
    """`limits.cpu for: box,service-1-redis; limits.memory for: box` as fields to set."""
    fields: dict[str, list[str]] = {}
    for resource, containers in _MUST_SPECIFY.findall(wanted):
        for container in containers.split(","):
            fields.setdefault(_resources(of.field_of(container)), []).append(resource)
    if not fields:
        return ""
    named = ", ".join(f"{where} ({', '.join(names)})" for where, names in fields.items())
    return f"The namespace's quota wants them stated: set {named}, or give the namespace a LimitRange with defaults"


def _resources(where: str) -> str:
    return where if where.startswith("source.") else f"{where}.resources"


def _security_remedy(text: str, of: Refused) -> str:
    """`runAsNonRoot != true (pod or container "box" must set securityContext.runAsNonRoot=true)` as fields to set."""
    wanted: dict[str, dict[str, None]] = {}
    for names, path in re.findall(
        r"containers? ((?:\"[^\"]+\"(?:, )?)+) must (?:not )?set securityContext\.(\w+)", text
    ):
        for container in re.findall(r"\"([^\"]+)\"", names):
            wanted.setdefault(of.field_of(container), {})[_SECURITY_FIELDS.get(path, path)] = None
    if not wanted:
        return "The namespace's Pod Security level forbids it (label pod-security.kubernetes.io/enforce)"
    fields = "; ".join(
        f"{where}.securityContext: {{{', '.join(names)}}}" for where, names in wanted.items()
    )
    user = (
        " runAsNonRoot needs an image with a numeric USER, or runAsUser with a number beside it."
        if "runAsNonRoot" in fields
        else ""
    )
    return f"Set {fields}.{user} Or run the build in a namespace with a weaker Pod Security level".replace(
        "..", "."
    )
