"""What the API server's refusals mean, in its own words: taken from Kubernetes 1.34."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.api.reasons import Reason
from sentinel.plan.observe import observe
from sentinel.plan.refusals import (
    FOREVER,
    RIGHTS_GRACE,
    Refused,
    classify_refusal,
    refused,
)
from sentinel.plan.start import why_not_started

POD = Refused(
    kind="Pod",
    name="p",
    containers={"initContainers": ["source"], "containers": ["box", "service-1-my-db"]},
    aliases={"service-1-my-db": "my_db"},
)

QUOTA = (
    'pods "p" is forbidden: exceeded quota: compute, requested: requests.memory=192Mi, used: '
    "requests.memory=0, limited: requests.memory=100Mi"
)
MUST_SPECIFY = (
    'pods "p" is forbidden: failed quota: compute: must specify limits.cpu for: box,service-1-my-db,source; '
    "limits.memory for: box"
)
POD_SECURITY = (
    'pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (containers '
    '"box", "service-1-my-db" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities '
    '(container "box" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container '
    '"box" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "box" must set '
    'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
)
TOO_SMALL = (
    'Pod "p" is invalid: spec.containers[1].resources.requests: Invalid value: "64Mi": must be less than or equal to '
    "memory limit of 48Mi"
)


@pytest.mark.parametrize(
    ("status", "text", "reason", "verdict", "grace", "resources"),
    [
        (403, QUOTA, Reason.QUOTA_EXCEEDED, "wait", FOREVER, True),
        (
            403,
            'configmaps "c" is forbidden: exceeded quota: few, requested: count/configmaps=1, used: '
            "count/configmaps=1, limited: count/configmaps=1",
            Reason.QUOTA_EXCEEDED,
            "wait",
            FOREVER,
            True,
        ),
        (
            403,
            'pods "p" is forbidden: error looking up service account a/default: serviceaccount "default" not found',
            Reason.SERVICE_ACCOUNT_MISSING,
            "wait",
            FOREVER,
            False,
        ),
        (
            403,
            'pods "p" is forbidden: error looking up service account a/deployer: serviceaccount "deployer" not found',
            Reason.SERVICE_ACCOUNT_MISSING,
            "wait",
            10.0,
            False,
        ),
        (403, POD_SECURITY, Reason.ADMISSION_DENIED, "fail", 0.0, False),
        (403, MUST_SPECIFY, Reason.ADMISSION_DENIED, "fail", 0.0, True),
        (422, TOO_SMALL, Reason.ADMISSION_DENIED, "fail", 0.0, True),
        (
            403,
            'pods "p" is forbidden: maximum memory usage per Container is 48Mi, but limit is 1Gi',
            Reason.ADMISSION_DENIED,
            "fail",
            0.0,
            True,
        ),
        (
            403,
            'pods "p" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 20',
            Reason.ADMISSION_DENIED,
            "fail",
            0.0,
            True,
        ),
        (422, "Pod is invalid: spec.tolerations[0]", Reason.ADMISSION_DENIED, "fail", 0.0, False),
        (
            403,
            'admission webhook "policy.example.com" denied the request: no builds on Sundays',
            Reason.ADMISSION_DENIED,
            "fail",
            0.0,
            False,
        ),
        (
            403,
            'roles.rbac.authorization.k8s.io "r" is forbidden: User "system:serviceaccount:s:sentinel-operator" cannot '
            'create resource "roles" in API group "rbac.authorization.k8s.io" in the namespace "a"',
            Reason.INTERNAL,
            "wait",
            RIGHTS_GRACE,
            False,
        ),
    ],
)
def test_a_refusal_is_understood(
    status: int, text: str, reason: Reason, verdict: str, grace: float, resources: bool
) -> None:
    refusal = classify_refusal(status, text, POD)

    assert (refusal.reason, refusal.verdict, refusal.grace) == (reason, verdict, grace)
    assert refusal.resources is resources
    assert text in refusal.message


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (
            403,
            'pods "p" is forbidden: unable to create new content in namespace a because it is being terminated',
        ),
        (404, 'namespaces "a" not found'),
    ],
)
def test_a_namespace_that_goes_takes_its_builds_with_it(status: int, text: str) -> None:
    assert classify_refusal(status, text, POD).verdict == "gone"


def test_a_missing_crd_is_not_a_missing_namespace() -> None:
    text = "the server could not find the requested resource"
    assert classify_refusal(404, text, POD).verdict == "fail"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (QUOTA, "Raise ResourceQuota compute, lower the resources in spec.pod, or wait"),
        (
            MUST_SPECIFY,
            "set spec.pod.box.resources (limits.cpu, limits.memory), spec.pod.services.my_db.resources (limits.cpu), "
            "source.resources of the operator (limits.cpu), or give the namespace a LimitRange with defaults",
        ),
        (
            POD_SECURITY,
            "Set spec.pod.box.securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, "
            "runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}; spec.pod.services.my_db.securityContext: "
            "{allowPrivilegeEscalation: false}. runAsNonRoot needs an image with a numeric USER, or runAsUser with a "
            "number beside it.",
        ),
        (
            TOO_SMALL,
            "A LimitRange of the namespace may set the limit: set spec.pod.services.my_db.resources",
        ),
    ],
)
def test_a_refusal_names_the_field_to_set(text: str, remedy: str) -> None:
    status = 422 if "invalid" in text else 403
    assert remedy in classify_refusal(status, text, POD).message


def test_only_pods_have_resources_to_lower() -> None:
    of = refused({"kind": "ImageCommit", "metadata": {"name": "c"}, "spec": {"nodeName": "n"}})
    text = 'imagecommits "c" is forbidden: exceeded quota: few, requested: count/imagecommits=1'
    message = classify_refusal(403, text, of).message

    assert message.startswith("ImageCommit c has to wait for the namespace's quota: ")
    assert "spec.pod" not in message


@pytest.mark.parametrize(
    ("container", "text", "remedy"),
    [
        (
            "box",
            "container has runAsNonRoot and image has non-numeric user (node), cannot verify user is non-root",
            "use a number, spec.pod.box.securityContext.runAsUser (`id -u node` in the image prints it)",
        ),
        (
            "service-1-redis",
            "container has runAsNonRoot and image will run as root",
            "Set spec.pod.services.redis.securityContext.runAsUser to a number other than 0",
        ),
        (
            "box",
            "container's runAsUser breaks non-root policy",
            "spec.pod.box.securityContext has runAsNonRoot and runAsUser: 0",
        ),
    ],
)
def test_a_user_that_the_kubelet_refuses_has_a_field(
    container: str, text: str, remedy: str
) -> None:
    waiting: dict[str, Any] = {"reason": "CreateContainerConfigError", "message": text}
    status = {"containerStatuses": [{"name": container, "state": {"waiting": waiting}}]}
    problem = why_not_started(observe({"status": status}), now=0.0, since={})

    assert problem is not None
    assert problem.reason is Reason.CONTAINER_CONFIG_INVALID
    assert text in problem.message
    assert remedy in problem.message


def test_a_field_that_the_cluster_does_not_know_is_the_build_s() -> None:
    text = (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field '
        '"spec.affinity.nodeAfinity", unknown field "spec.containers[1].resources.limit"'
    )
    names = ["box", "service-1-redis"]
    of = Refused(kind="Pod", name="p", containers={"containers": names})
    refusal = classify_refusal(400, text, of)

    assert (refusal.reason, refusal.verdict) == (Reason.INVALID_SPEC, "fail")
    assert refusal.message == (
        "this cluster's Kubernetes has no such field: spec.pod.affinity.nodeAfinity, "
        "spec.pod.services.redis.resources.limit. Correct or remove it"
    )
