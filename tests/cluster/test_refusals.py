"""What a namespace's quota, LimitRange, Pod Security level or missing account does to a build, on a real API server."""

from __future__ import annotations

from typing import Any

from tests.cluster.conftest import Builds, eventually, open_gate, steps
from tests.cluster.test_reasons import shows, verdict, wait
from tests.kubectl import KubectlError, condition

PING = r"printf 'PING\r\nQUIT\r\n' | nc redis 6379 | grep PONG"
LIMITED = {
    "requests": {"cpu": "50m", "memory": "64Mi"},
    "limits": {"cpu": "500m", "memory": "256Mi"},
}
COMPUTE = {
    "requests.cpu": "1",
    "requests.memory": "1Gi",
    "limits.cpu": "2",
    "limits.memory": "2Gi",
}


def quota(builds: Builds, limits: dict[str, str]) -> None:
    """A ResourceQuota `few`, in force."""
    builds.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "few", "namespace": builds.namespace},
            "spec": {"hard": limits},
        }
    )
    builds.kubectl.wait_for(
        "resourcequota",
        "few",
        namespace=builds.namespace,
        until=lambda raw: limits.keys() <= raw.get("status", {}).get("hard", {}).keys(),
    )


def denied(builds: Builds, *arguments: str) -> bool:
    """Whether the API server denies that: the quota is in force for admission, and not only in its status."""
    try:
        builds.kubectl(*arguments, "-n", builds.namespace)
    except KubectlError as error:
        if "exceeded quota" not in str(error):
            raise
        return True
    return False


def limit_range(builds: Builds, **limits: Any) -> None:
    builds.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "limits", "namespace": builds.namespace},
            "spec": {"limits": [{"type": "Container", **limits}]},
        }
    )


def with_redis(builds: Builds) -> str:
    registry = builds.lab.registry
    return builds.script(
        PING,
        box=f"{registry}/box/busybox:1",
        top=f"services:\n  - {registry}/service/redis:7\n",
    )


def resources(builds: Builds) -> dict[str, Any]:
    spec = builds.pods("b")[0]["spec"]
    return {
        each["name"]: each["resources"] for each in [*spec["initContainers"], *spec["containers"]]
    }


def test_a_quota_on_limits_takes_a_build_that_states_its_own(builds: Builds) -> None:
    quota(builds, COMPUTE)
    pod = {"box": {"resources": LIMITED}, "services": {"redis": {"resources": LIMITED}}}
    raw = builds.run(url=with_redis(builds), pod=pod)
    assert verdict(raw) == ("Succeeded", "Passed")


def test_a_quota_on_limits_names_the_fields_of_a_build_that_states_none(builds: Builds) -> None:
    quota(builds, COMPUTE)
    raw = builds.run(url=with_redis(builds))
    assert verdict(raw) == ("Failed", "AdmissionDenied")
    message = condition(raw, "Succeeded")["message"]
    assert "set spec.pod.box.resources (limits.cpu, limits.memory)" in message
    assert "spec.pod.services.redis.resources (limits.cpu, limits.memory)" in message
    assert "source.resources" not in message


def test_our_default_requests_yield_to_a_smaller_default_limit(builds: Builds, gate: str) -> None:
    limit_range(builds, default={"cpu": "40m", "memory": "48Mi"})
    url = builds.script("true", box=f"{builds.lab.registry}/box/busybox:1")
    builds.apply("b", url=url, pod={"nodeSelector": {gate: "open"}})
    wait(builds, shows("Unschedulable"))
    assert resources(builds)["box"]["requests"] == {"cpu": "40m", "memory": "48Mi"}
    open_gate(builds, gate)
    assert verdict(builds.finish("b")) == ("Succeeded", "Passed")


def test_a_limit_range_with_defaults_satisfies_the_quota(builds: Builds) -> None:
    quota(builds, COMPUTE)
    limit_range(
        builds,
        default={"cpu": "500m", "memory": "256Mi"},
        defaultRequest={"cpu": "20m", "memory": "32Mi"},
    )
    assert verdict(builds.run(url=with_redis(builds))) == ("Succeeded", "Passed")


def test_a_quota_that_is_too_small_is_shown_and_waited_for(builds: Builds) -> None:
    quota(builds, {"requests.memory": "100Mi"})
    builds.apply("b", url=builds.script("true"))
    raw = wait(builds, shows("QuotaExceeded"))
    message = condition(raw, "PodReady")["message"]
    assert "limited: requests.memory=100Mi" in message
    assert "Raise ResourceQuota few, lower the resources in spec.pod" in message
    quota(builds, {"requests.memory": "1Gi"})
    assert verdict(builds.finish("b")) == ("Succeeded", "Passed")


def test_a_quota_on_image_commits_is_waited_for_after_the_steps(builds: Builds) -> None:
    quota(builds, {"count/imagecommits.sentinel.wercker.com": "0"})
    builds.apply("b", url=builds.script("true"), image={"commit": "end"})
    raw = wait(
        builds,
        lambda raw: (
            "has to wait for the namespace's quota"
            in condition(raw, "Succeeded").get("message", "")
        ),
    )
    assert condition(raw, "Succeeded")["status"] == "Unknown"
    assert steps(raw) == [("step", "Passed", "Passed")]
    builds.kubectl("delete", "resourcequota", "few", "-n", builds.namespace)
    raw = builds.finish("b")
    assert verdict(raw) == ("Succeeded", "Passed")
    assert raw["status"]["image"]["digest"]


def test_a_commit_that_a_quota_never_lets_in_leaves_the_steps_passed_and_no_pod(
    builds: Builds,
) -> None:
    quota(builds, {"count/imagecommits.sentinel.wercker.com": "0"})
    # The pod must start within that time too.
    raw = builds.run(
        url=builds.script("true"), image={"commit": "end"}, timeouts={"pending": "45s"}
    )
    assert verdict(raw) == ("Errored", "QuotaExceeded")
    assert "ImageCommit b-" in condition(raw, "Succeeded")["message"]
    assert steps(raw) == [("step", "Passed", "Passed")]
    assert builds.log(raw, "step") == ""
    eventually(lambda: builds.pods("b") == [])


def test_pod_security_names_the_fields_to_set_and_with_them_the_build_succeeds(
    builds: Builds,
) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    builds.kubectl("label", "namespace", builds.namespace, label)
    raw = builds.run(url=builds.script("true"))
    assert verdict(raw) == ("Failed", "AdmissionDenied")
    assert "PodSecurity" in condition(raw, "Succeeded")["message"]
    assert (
        "Set spec.pod.box.securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, "
        "runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}"
    ) in condition(raw, "Succeeded")["message"]
    context = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    raw = builds.run("b2", url=builds.script("true"), pod={"box": {"securityContext": context}})
    assert verdict(raw) == ("Succeeded", "Passed")


def test_a_box_that_must_not_run_as_root_names_the_field_to_set(builds: Builds) -> None:
    """The box's image runs as root and its securityContext forbids that: CreateContainerConfigError."""
    pod = {"box": {"securityContext": {"runAsNonRoot": True}}}
    raw = builds.run(url=builds.script("true"), pod=pod)
    assert verdict(raw) == ("Failed", "ContainerConfigInvalid")
    message = condition(raw, "Succeeded")["message"]
    assert "runAsNonRoot" in message and "Set spec.pod.box.securityContext.runAsUser" in message
    assert steps(raw) == [("step", "Skipped", "Skipped")]


def test_a_build_applied_together_with_its_namespace_waits_for_the_default_account(
    builds: Builds,
) -> None:
    """The account is kept away by a quota, as if the controller had not come to it yet."""
    here = ("-n", builds.namespace)
    quota(builds, {"count/serviceaccounts": "0"})
    eventually(lambda: denied(builds, "create", "serviceaccount", "another", "--dry-run=server"))
    # In a new namespace it may not be there yet, and then the quota keeps it away.
    builds.kubectl("delete", "serviceaccount", "default", "--ignore-not-found", *here)
    builds.apply("b", url=builds.script("true"))
    wait(builds, shows("ServiceAccountMissing"))
    builds.kubectl("delete", "resourcequota", "few", *here)
    # The controller tries again later each time; a change of the namespace makes it look at once.
    builds.kubectl("label", "namespace", builds.namespace, "changed=yes")
    assert verdict(builds.finish("b")) == ("Succeeded", "Passed")
