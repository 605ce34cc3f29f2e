"""Proof that the operator made an object: an HMAC in an annotation, checked before anything is done because of it; for
a pod it covers a digest of what runs in it.

Pods, ConfigMaps and Secrets of a build live in its namespace, where `edit` may write every label, annotation and owner
reference. Only the signature tells ours from theirs. The key is in a Secret of the release's namespace; two are
accepted, so that it can be rotated while builds run (`docs/explanation/security.md`).

Not here: reading the key (`engine/keys.py`), and the pod's uid, which only the Build's status knows.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.errors import NotVerified
from sentinel.plan.model import Plan
from sentinel.plan.names import BOX, FETCH_VARIABLE, SIGNATURE_ANNOTATION, SOURCE, AttemptId

KEY_BYTES = 32
"""Bytes of a key; shorter ones are refused."""

_FORMAT = "s1"


@dataclass(frozen=True)
class PlanKeys:
    """The keys that sign and verify. `current` signs; `previous` only verifies, while a rotation is under way."""

    current: bytes = field(repr=False)
    previous: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if any(len(key) < KEY_BYTES for key in self._all):
            raise ValueError(f"a key needs at least {KEY_BYTES} bytes")

    @classmethod
    def generate(cls) -> PlanKeys:
        """A new key from the system's random source."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @property
    def _all(self) -> tuple[bytes, ...]:
        return (self.current,) if self.previous is None else (self.current, self.previous)

    def sign(self, *parts: str) -> str:
        """`<key id>.<mac>` over these parts, both in hexadecimal digits."""
        return f"{_key_id(self.current)}.{_mac(self.current, parts)}"

    def verify(self, signature: str, *parts: str) -> str:
        """ "" if `signature` is ours, else what is wrong with it, for a message."""
        key_id, _, mac = signature.partition(".")
        key = next((each for each in self._all if _key_id(each) == key_id), None)
        if key is None:
            return "it is signed with a key that this operator does not have"
        if not hmac.compare_digest(mac.encode(), _mac(key, parts).encode()):
            return "its signature does not match: it was changed, or made for something else"
        return ""


def seal_plan(payload: str, *, pod: str, identity: AttemptId, keys: PlanKeys) -> str:
    """The annotation of a pod: the encoded plan with the digest `pod` of its spec, signed for this attempt."""
    signature = keys.sign("plan", *identity.signed, pod, payload)
    return ".".join((_FORMAT, signature, pod, payload))


def open_plan(text: str, *, identity: AttemptId, keys: PlanKeys) -> tuple[str, str]:
    """The encoded plan in an annotation, and the digest of the spec that it was sent with.

    Raises NotVerified where it is not signed by us for exactly this attempt.
    """
    form, *rest = text.split(".")
    if not rest:
        raise _refused(
            "its plan is not signed: it was made by an earlier version of the operator, or not by the operator. "
            "Let running builds finish before you upgrade from a version that does not sign plans"
        )
    if form != _FORMAT or len(rest) != 4:
        raise _refused(
            f"its plan is signed in a format that this operator does not read: {form[:8]!r}"
        )
    key_id, mac, pod, payload = rest
    wrong = keys.verify(f"{key_id}.{mac}", "plan", *identity.signed, pod, payload)
    if wrong:
        raise _refused(f"its plan cannot be verified: {wrong}")
    return payload, pod


def sign_object(body: Mapping[str, Any], *, identity: AttemptId, keys: PlanKeys) -> dict[str, Any]:
    """A ConfigMap or Secret with our signature over its content among its annotations."""
    metadata = dict(body["metadata"])
    signature = keys.sign("object", *identity.signed, _content(body))
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        SIGNATURE_ANNOTATION: signature,
    }
    return {**body, "metadata": metadata}


def check_object(raw: Mapping[str, Any], *, kind: str, identity: AttemptId, keys: PlanKeys) -> None:
    """Raise NotVerified unless we made this ConfigMap or Secret for this attempt, with this very content."""
    signature = (raw["metadata"].get("annotations") or {}).get(SIGNATURE_ANNOTATION)
    if signature is None:
        wrong = "it is not signed"
    else:
        wrong = keys.verify(
            str(signature), "object", *identity.signed, _content({**raw, "kind": kind})
        )
    if wrong:
        raise _refused(
            f"{kind} {raw['metadata']['name']} is not the operator's: {wrong}. Delete it, and submit the Build again"
        )


def _content(body: Mapping[str, Any]) -> str:
    """What of an object is signed; the server stores it as it was sent."""
    metadata = body["metadata"]
    signed = {
        "kind": body["kind"],
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        **{key: body[key] for key in ("type", "data", "binaryData", "immutable") if body.get(key)},
    }
    return json.dumps(signed, sort_keys=True, separators=(",", ":"))


def _refused(message: str) -> NotVerified:
    return NotVerified(message, reason=Reason.NOT_VERIFIED)


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"sentinel key id\0" + key).hexdigest()[:8]


def _mac(key: bytes, parts: tuple[str, ...]) -> str:
    """HMAC-SHA256 over the parts, each with its length: no two lists of parts give the same bytes."""
    mac = hmac.new(key, b"sentinel\0", hashlib.sha256)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        mac.update(len(data).to_bytes(8, "big"))
        mac.update(data)
    return mac.hexdigest()


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
    for profile in ("seccompProfile", "appArmorProfile"):
        if (security.get(profile) or {}).get("type") == "Unconfined":
            raised.append(f"{profile} Unconfined")
    if security.get("procMount") not in (None, "", "Default"):
        raised.append(f"procMount {security['procMount']}")
    return sorted(raised)


def _items(of: Json, field: str) -> Iterable[Json]:
    return of.get(field) or ()
