"""Only what the operator signed for exactly this attempt is believed."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.plan.examples import build, plan, settings

from sentinel.api.reasons import Reason
from sentinel.errors import NotVerified
from sentinel.plan.codec import encode
from sentinel.plan.derive import derive_again
from sentinel.plan.model import PlanImage, Variable
from sentinel.plan.names import AttemptId
from sentinel.plan.pod import make_pod
from sentinel.plan.seal import (
    PlanKeys,
    check_object,
    open_plan,
    pod_imprint,
    seal_plan,
    sign_object,
)

ID = AttemptId("team", "hello", "uid-1", 1)
OLD, NEW = PlanKeys(b"o" * 32), PlanKeys(b"n" * 32, b"o" * 32)


def test_what_we_sealed_opens() -> None:
    text = seal_plan("cGxhbg==", pod="ab", identity=ID, keys=OLD)

    assert open_plan(text, identity=ID, keys=OLD) == ("cGxhbg==", "ab")


@pytest.mark.parametrize(
    "other",
    [
        replace(ID, namespace="kube-system"),
        replace(ID, build="evil"),
        replace(ID, uid="uid-2"),
        replace(ID, attempt=2),
    ],
    ids=["namespace", "build", "uid", "attempt"],
)
def test_a_plan_of_something_else_is_refused(other: AttemptId) -> None:
    text = seal_plan("cGxhbg==", pod="ab", identity=other, keys=OLD)

    with pytest.raises(NotVerified, match="signature does not match") as caught:
        open_plan(text, identity=ID, keys=OLD)

    assert caught.value.reason is Reason.NOT_VERIFIED


def test_a_part_cannot_lend_letters_to_its_neighbour() -> None:
    text = seal_plan("p", pod="ab", identity=replace(ID, namespace="teamh", build="ello"), keys=OLD)

    with pytest.raises(NotVerified):
        open_plan(text, identity=ID, keys=OLD)


def test_the_unsigned_plan_of_an_earlier_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(NotVerified, match=r"not signed.*Let running builds finish before"):
        open_plan(encode(plan()), identity=ID, keys=OLD)


@given(st.data())
def test_no_byte_of_the_annotation_may_change(data: st.DataObject) -> None:
    text = seal_plan("cGxhbg==", pod="ab" * 32, identity=ID, keys=OLD)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([c for c in "0aZ.=é" if c != text[at]]))

    with pytest.raises(NotVerified):
        open_plan(text[:at] + other + text[at + 1 :], identity=ID, keys=OLD)


def test_while_a_key_is_rotated_both_are_accepted_and_the_new_one_signs() -> None:
    running = seal_plan("cGxhbg==", pod="ab", identity=ID, keys=OLD)
    assert open_plan(running, identity=ID, keys=NEW)[0] == "cGxhbg=="

    fresh = seal_plan("cGxhbg==", pod="ab", identity=ID, keys=NEW)
    with pytest.raises(NotVerified, match="a key that this operator does not have"):
        open_plan(fresh, identity=ID, keys=OLD)
    assert open_plan(fresh, identity=ID, keys=PlanKeys(NEW.current))[0] == "cGxhbg=="


def test_keys_are_not_printed_and_not_short(caplog: pytest.LogCaptureFixture) -> None:
    keys = PlanKeys(b"secret-" * 8, b"former-" * 8)
    logging.getLogger("test").error("%s %r", keys, keys)

    assert "secret-" not in caplog.text
    assert "former-" not in caplog.text
    with pytest.raises(ValueError, match="at least 32 bytes"):
        PlanKeys(b"short")


SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "type": "kubernetes.io/dockerconfigjson",
    "metadata": {"name": "hello-pull", "namespace": "team", "annotations": {"a": "b"}},
    "data": {".dockerconfigjson": "e30="},
}


def test_an_object_is_ours_with_the_content_that_we_signed() -> None:
    ours = sign_object(SECRET, identity=ID, keys=OLD)
    # What a server adds, and that a list leaves the kind out.
    stored = {key: value for key, value in ours.items() if key != "kind"}
    stored["metadata"] = {**ours["metadata"], "uid": "u", "resourceVersion": "3"}

    check_object(stored, kind="Secret", identity=ID, keys=NEW)


@pytest.mark.parametrize(
    "change",
    [
        {"data": {".dockerconfigjson": "W10="}},
        {"type": "Opaque"},
        {"immutable": True},
        {"metadata": {**SECRET["metadata"], "name": "other"}},  # type: ignore[dict-item]
        {"metadata": SECRET["metadata"]},
    ],
    ids=["data", "type", "immutable", "name", "unsigned"],
)
def test_an_object_that_another_client_made_or_changed_is_not(change: dict[str, Any]) -> None:
    ours = sign_object(SECRET, identity=ID, keys=OLD)
    if "metadata" in change and change["metadata"]["name"] == "other":
        annotations = ours["metadata"]["annotations"]
        change = {"metadata": {**change["metadata"], "annotations": annotations}}

    with pytest.raises(NotVerified, match=r"Secret \S+ is not the operator's"):
        check_object({**ours, **change}, kind="Secret", identity=ID, keys=OLD)


# The digest of a pod's spec.


def test_defaults_and_honest_admission_do_not_change_the_imprint() -> None:
    the_plan = plan()
    sent = make_pod(the_plan, build=build(), settings=settings())["spec"]
    seen = copy.deepcopy(sent)
    # The server's defaults.
    seen |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "nodeName": "n"}
    seen |= {"serviceAccountName": "default", "serviceAccount": "default", "securityContext": {}}
    seen["hostNetwork"] = False
    # Admission: a mesh, a mirror, limits, hardening, tolerations, a token for a sidecar, an agent's socket.
    seen["tolerations"] = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]
    seen["containers"].append(
        {"name": "istio-proxy", "image": "istio", "securityContext": {"privileged": True}}
    )
    seen["initContainers"].insert(0, {"name": "istio-init", "command": ["iptables"]})
    seen["volumes"] += [{"name": "istio-envoy", "emptyDir": {}}, {"name": "s", "hostPath": {}}]
    seen["imagePullSecrets"] = [{"name": "mirror"}]
    for each in (*seen["initContainers"], *seen["containers"]):
        each["image"] = f"mirror.example.com/{each['image']}" if "image" in each else "istio"
        each["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}}
        each["terminationMessagePath"] = "/dev/termination-log"
        each.setdefault("securityContext", {}).setdefault("capabilities", {})["drop"] = ["ALL"]
        each["securityContext"].setdefault("seccompProfile", {"type": "RuntimeDefault"})
        each.setdefault("env", []).append({"name": "DD_AGENT_HOST", "value": "x"})
        each.setdefault("volumeMounts", []).append({"name": "s", "mountPath": "/var/run/agent"})

    assert pod_imprint(seen, the_plan) == pod_imprint(sent, the_plan)


def box_of(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in spec["containers"] if c["name"] == "box")
    return found


def with_host_path(spec: dict[str, Any]) -> None:
    volume = next(v for v in spec["volumes"] if v["name"] == "session")
    del volume["emptyDir"]
    volume["hostPath"] = {"path": "/"}


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec.update(hostPID=True),
        lambda spec: spec.update(hostNetwork=True),
        lambda spec: spec.update(serviceAccountName="admin"),
        lambda spec: spec.update(automountServiceAccountToken=True),
        lambda spec: spec["containers"].pop(0),
        lambda spec: box_of(spec).update(command=["sh", "-c", "cat"]),
        lambda spec: box_of(spec).update(args=["x"]),
        lambda spec: box_of(spec).update(securityContext={"privileged": True}),
        lambda spec: box_of(spec).update(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
        lambda spec: box_of(spec).update(
            securityContext={"seccompProfile": {"type": "Unconfined"}}
        ),
        lambda spec: spec["initContainers"][0]["env"][0].update(value='{"url": "elsewhere"}'),
        lambda spec: box_of(spec)["volumeMounts"][0].update(mountPath="/elsewhere"),
        with_host_path,
    ],
)
def test_what_gives_a_pod_more_or_makes_it_another_changes_the_imprint(change: Any) -> None:
    the_plan = plan()
    sent = make_pod(the_plan, build=build(), settings=settings())["spec"]
    other = copy.deepcopy(sent)
    change(other)

    assert pod_imprint(other, the_plan) != pod_imprint(sent, the_plan)


# What a plan grants is taken from the Build.


def test_a_plan_of_ours_comes_back_as_it_was() -> None:
    assert derive_again(plan(), build=build(), settings=settings()) == plan()


def test_the_builds_own_pull_secret_stays_in_its_plan() -> None:
    own = plan().id.pull_secret
    image = plan().image
    made = replace(plan(), image=replace(image, pull_secrets=(*image.pull_secrets, own)))

    assert derive_again(made, build=build(), settings=settings()) == made


def test_where_results_and_images_go_is_never_the_annotations_to_say() -> None:
    honest = plan()
    forged = replace(
        honest,
        results_prefix="victim/project-artifacts/app/uid/1/",
        source=replace(honest.source, url="https://elsewhere.example/x.git", secret="victim"),
        image=PlanImage(
            commit="end", repository="registry/victim", push_secret="admin", pull_secrets=("a",)
        ),
    )

    assert derive_again(forged, build=build(), settings=settings()) == honest


def test_a_plan_that_commits_nothing_still_commits_nothing() -> None:
    never = replace(plan(), image=PlanImage(commit="never", repository="registry/victim"))

    assert derive_again(never, build=build(), settings=settings()).image == PlanImage()


@pytest.mark.parametrize("field", ["namespace", "build", "uid"])
def test_a_plan_of_another_build_is_refused(field: str) -> None:
    with pytest.raises(NotVerified, match="it is for Build"):
        derive_again(replace(plan(), **{field: "other"}), build=build(), settings=settings())


@pytest.mark.parametrize("ref", ["secret", "config_map"])
def test_a_plan_reads_no_objects_that_the_build_does_not_name(ref: str) -> None:
    more = Variable(name="X", **{ref: ("victim", "key")})  # type: ignore[arg-type]
    forged = replace(plan(), variables=(*plan().variables, more))

    with pytest.raises(NotVerified, match="reads victim, which the Build does not name"):
        derive_again(forged, build=build(), settings=settings())
