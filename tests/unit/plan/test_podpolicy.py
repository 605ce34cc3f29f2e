"""What a Build may say about its pod, and how a misspelt or denied field is named."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.plan.examples import build, settings

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.plan.podpolicy import check_pod

PORTABLE = {
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
TERM = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
NODES = {
    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM]},
    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": TERM}],
}
OPEN = {
    "service_accounts": ["ci-*"],
    "priority_classes": ["low"],
    "runtime_classes": ["gvisor"],
    "tolerations": ["dedicated", "ci.example.com/*"],
    "label_prefixes": ["example.com/", "team"],
    "annotation_prefixes": [""],
}


def problems(pod: dict[str, Any], **policy: Any) -> str:
    try:
        check_pod(build(pod=pod), settings(pods=policy))
    except UserError as error:
        assert error.reason is Reason.INVALID_SPEC
        return error.message
    return ""


def test_what_takes_rights_away_and_places_the_pod_is_always_allowed() -> None:
    assert not problems(
        {
            "nodeSelector": {"disk": "ssd"},
            "affinity": {"nodeAffinity": NODES},
            "imagePullSecrets": [{"name": "registry"}],
            "automountServiceAccountToken": False,
            "box": {
                "resources": {"requests": {"cpu": 0.5}, "limits": {"memory": "1Gi"}},
                "securityContext": PORTABLE,
            },
            "services": {"redis": {"securityContext": PORTABLE}},
        }
    )


def test_what_the_lists_allow_is_allowed() -> None:
    pod = {
        "serviceAccountName": "ci-builder",
        "automountServiceAccountToken": True,
        "priorityClassName": "low",
        "runtimeClassName": "gvisor",
        "tolerations": [{"key": "dedicated"}, {"key": "ci.example.com/x", "operator": "Exists"}],
        "labels": {"example.com/a": "b", "team": "x"},
        "annotations": {"note": "x"},
    }

    assert not problems(pod, **OPEN)
    assert problems(pod).count("not allowed") == 8


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        (
            {"serviceAccountName": "admin"},
            "spec.pod.serviceAccountName: 'admin' is not allowed by the operator's setting pods.serviceAccounts (ci-*)",
        ),
        (
            {"automountServiceAccountToken": True},
            "spec.pod.automountServiceAccountToken: only with a spec.pod.serviceAccountName that the operator's "
            "setting pods.serviceAccounts allows",
        ),
        (
            {"tolerations": [{"operator": "Exists"}]},
            "spec.pod.tolerations[0]: tolerating every taint is not allowed by the operator's setting "
            "pods.tolerations (dedicated, ci.example.com/*)",
        ),
        (
            {"labels": {"app": "other-team-s-service"}},
            "spec.pod.labels: 'app' is not allowed by the operator's setting pods.labelPrefixes (example.com/, team)",
        ),
        (
            {"annotations": {"sentinel.wercker.com/plan": "forged"}},
            "spec.pod.annotations: 'sentinel.wercker.com/plan' is Sentinel's own",
        ),
        (
            {"annotations": {"x.sentinel.wercker.com/y": "forged"}},
            "spec.pod.annotations: 'x.sentinel.wercker.com/y' is Sentinel's own",
        ),
        (
            {"box": {"securityContext": {"privileged": True}}},
            "spec.pod.box.securityContext.privileged: only false is allowed in builds",
        ),
        (
            {"services": {"db": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}}},
            "spec.pod.services.db.securityContext.capabilities.add: not allowed in builds; only drop is",
        ),
        (
            {"box": {"securityContext": {"allowPrivilegeEscalation": True}}},
            "spec.pod.box.securityContext.allowPrivilegeEscalation: only false is allowed in builds",
        ),
        (
            {"box": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}},
            "spec.pod.box.securityContext.seccompProfile: only type: RuntimeDefault is allowed in builds",
        ),
        (
            {"box": {"securityContext": {"procMount": "Unmasked"}}},
            "spec.pod.box.securityContext.procMount: not allowed in builds",
        ),
        (
            {"box": {"resources": {"claims": [{"name": "gpu"}]}}},
            "spec.pod.box.resources.claims: not allowed in builds",
        ),
    ],
)
def test_a_denied_field_is_named_with_its_setting(pod: dict[str, Any], message: str) -> None:
    assert problems(pod, **OPEN) == message


@pytest.mark.parametrize(
    ("pod", "path", "near"),
    [
        ({"box": {"resources": {"limit": {}}}}, "spec.pod.box.resources.limit", "limits"),
        (
            {"box": {"securityContext": {"runAsUsr": 1000}}},
            "spec.pod.box.securityContext.runAsUsr",
            "runAsUser",
        ),
        ({"affinity": {"nodeAfinity": {}}}, "spec.pod.affinity.nodeAfinity", "nodeAffinity"),
        ({"afinity": {}}, "spec.pod.afinity", "affinity"),
        ({"box": {"resource": {}}}, "spec.pod.box.resource", "resources"),
        ({"services": {"db": {"resouces": {}}}}, "spec.pod.services.db.resouces", "resources"),
        (
            {"tolerations": [{"key": "dedicated", "efect": "NoSchedule"}]},
            "spec.pod.tolerations[0].efect",
            "effect",
        ),
        (
            {
                "affinity": {
                    "podAntiAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {"podAffinityTerm": {"topologykey": "x", "labelSelektor": {}}}
                        ]
                    }
                }
            },
            "spec.pod.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm."
            "topologykey",
            "topologyKey",
        ),
    ],
)
def test_a_misspelt_field_is_named_with_the_one_that_was_meant(
    pod: dict[str, Any], path: str, near: str
) -> None:
    """It vanished before: a box ran as root, without limits, and Accepted was Valid."""
    assert f"{path}: there is no such field; did you mean {near}?" in problems(pod, **OPEN)


def test_a_field_that_is_like_none_is_named_too_and_a_message_has_an_end() -> None:
    assert problems({"hostNetwork": True}) == "spec.pod.hostNetwork: there is no such field"
    many = problems({f"field{n}": 1 for n in range(1000)})
    assert many.count("there is no such field") == 8
    assert many.endswith("; …")
