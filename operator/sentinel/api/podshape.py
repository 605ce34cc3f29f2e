"""The parts of a pod that `spec.pod` may hold, as schemas: the fields that Kubernetes 1.30 has, each explained.

They go into the CRD, where unknown fields are kept instead of pruned, so that `unknown_fields` sees a misspelt one and
can name the one that was meant. What a value may be is the API server's to check when the pod is created.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sentinel.nearest import nearest

Schema = dict[str, Any]


def unknown_fields(
    value: object, schema: Mapping[str, Any], path: str
) -> Iterator[tuple[str, str]]:
    """Every field in `value` that `schema` does not have: its path below `path`, and the nearest known name or ""."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from unknown_fields(each, schema.get("items", {}), f"{path}[{index}]")
    if not isinstance(value, Mapping):
        return
    known = schema.get("properties")
    for name, each in value.items():
        if known is None:
            rest = schema.get("additionalProperties")
            yield from unknown_fields(
                each, rest if isinstance(rest, dict) else {}, f"{path}.{name}"
            )
        elif name in known:
            yield from unknown_fields(each, known[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}", next(iter(nearest(name, known, share=0.3)), "")


def _object(description: str, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "x-kubernetes-preserve-unknown-fields": True,
    }


def _text(description: str) -> Schema:
    return {"type": "string", "maxLength": 1024, "description": description}


def _number(description: str) -> Schema:
    return {"type": "integer", "format": "int64", "description": description}


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _list(description: str, items: Schema) -> Schema:
    return {"type": "array", "maxItems": 64, "description": description, "items": items}


def _texts(description: str) -> Schema:
    return _list(description, {"type": "string", "maxLength": 1024})


def _labels(description: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 1024},
    }


def _quantities(description: str) -> Schema:
    # Numbers and texts, as a pod takes them: cpu: 0.5, memory: 1Gi.
    return {
        "type": "object",
        "description": description,
        "maxProperties": 64,
        "x-kubernetes-preserve-unknown-fields": True,
    }


RESOURCES = _object(
    "Requests and limits, as in a container.",
    requests=_quantities("What the scheduler sets aside, e.g. cpu: 500m, memory: 1Gi."),
    limits=_quantities("What the container may use at most."),
    claims=_list(
        "As in a container; not allowed in builds.", _object("A claim.", name=_text("Its name."))
    ),
)

SECURITY_CONTEXT = _object(
    "Security context, as in a container. Builds may set runAsUser, runAsGroup, runAsNonRoot, "
    "readOnlyRootFilesystem, capabilities.drop, allowPrivilegeEscalation: false and seccompProfile.type: "
    "RuntimeDefault.",
    runAsUser=_number("User id of the processes."),
    runAsGroup=_number("Group id of the processes."),
    runAsNonRoot=_flag("Refuse to run as root."),
    readOnlyRootFilesystem=_flag("Make the image's files read-only."),
    allowPrivilegeEscalation=_flag("Whether a process may gain more privileges; only false."),
    capabilities=_object(
        "Linux capabilities.",
        add=_texts("Capabilities to add; not allowed in builds."),
        drop=_texts("Capabilities to remove, e.g. ALL."),
    ),
    seccompProfile=_object(
        "System call filter.",
        type=_text("RuntimeDefault; no other one is allowed."),
        localhostProfile=_text("As in a container; not allowed in builds."),
    ),
    appArmorProfile=_object(
        "As in a container; not allowed in builds.",
        type=_text("Kind of profile."),
        localhostProfile=_text("Profile on the node."),
    ),
    privileged=_flag("Only false."),
    procMount=_text("As in a container; not allowed in builds."),
    seLinuxOptions=_object(
        "As in a container; not allowed in builds.",
        level=_text("Level."),
        role=_text("Role."),
        type=_text("Type."),
        user=_text("User."),
    ),
    windowsOptions=_object(
        "As in a container; not allowed in builds.",
        gmsaCredentialSpec=_text("Credential spec."),
        gmsaCredentialSpecName=_text("Name of the credential spec."),
        hostProcess=_flag("Run on the host."),
        runAsUserName=_text("User name."),
    ),
)

TOLERATION = _object(
    "A taint that does not keep the pod from a node, as in a pod.",
    key=_text("Key of the taint."),
    operator=_text("Exists or Equal."),
    value=_text("Value of the taint."),
    effect=_text("NoSchedule, PreferNoSchedule or NoExecute; empty: all."),
    tolerationSeconds=_number("How long a NoExecute taint is tolerated."),
)

_REQUIREMENT = _object(
    "One requirement.",
    key=_text("The label."),
    operator=_text("In, NotIn, Exists, DoesNotExist, Gt or Lt."),
    values=_texts("Values to compare with."),
)
_NODE_TERM = _object(
    "Requirements that must all hold.",
    matchExpressions=_list("About the node's labels.", _REQUIREMENT),
    matchFields=_list("About the node's fields.", _REQUIREMENT),
)
_SELECTOR = _object(
    "Selects by labels.",
    matchLabels=_labels("Labels that must be equal."),
    matchExpressions=_list("Requirements on labels.", _REQUIREMENT),
)
_POD_TERM = _object(
    "Pods that count, and where.",
    labelSelector=_SELECTOR,
    namespaceSelector=_SELECTOR,
    namespaces=_texts("Namespaces of these pods."),
    topologyKey=_text("Node label whose values are the places."),
    matchLabelKeys=_texts("Labels of this pod that must be equal."),
    mismatchLabelKeys=_texts("Labels of this pod that must differ."),
)


def _pod_affinity(description: str) -> Schema:
    return _object(
        description,
        requiredDuringSchedulingIgnoredDuringExecution=_list("Must hold.", _POD_TERM),
        preferredDuringSchedulingIgnoredDuringExecution=_list(
            "Preferred, by weight.",
            _object("A weighted term.", weight=_number("1 to 100."), podAffinityTerm=_POD_TERM),
        ),
    )


AFFINITY = _object(
    "Scheduling constraints, as in a pod.",
    nodeAffinity=_object(
        "About nodes.",
        requiredDuringSchedulingIgnoredDuringExecution=_object(
            "Must hold.",
            nodeSelectorTerms=_list("Terms of which one must hold.", _NODE_TERM),
        ),
        preferredDuringSchedulingIgnoredDuringExecution=_list(
            "Preferred, by weight.",
            _object("A weighted term.", weight=_number("1 to 100."), preference=_NODE_TERM),
        ),
    ),
    podAffinity=_pod_affinity("Near these pods."),
    podAntiAffinity=_pod_affinity("Away from these pods."),
)
