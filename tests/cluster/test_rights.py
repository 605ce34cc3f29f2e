"""The rights that the chart gives are those that are used, by the API server's audit log.

This module runs last (`conftest.py`): what the whole test run did is in the log by then. The lab's log begins when the
lab is brought up, so that a focused run finds what earlier ones did.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.cluster.conftest import Builds
from tests.cluster.test_reasons import verdict
from tests.install import NAMESPACE, install, render, restore
from tests.kubectl import Kubectl, KubectlError
from tests.lab import audit
from tests.lab.state import Lab

Right = tuple[str, str, str, str]
"""(account, API group, resource, verb)."""

ACCOUNTS = ("sentinel-operator", "sentinel-agent", "sentinel-results")

SELDOM: set[Right] = {
    # When its certificate is made: at the first start.
    ("sentinel-results", "", "secrets", "patch"),
    ("sentinel-results", "apiregistration.k8s.io", "apiservices", "patch"),
    # After a write of a Build's status that met another one, or a try that failed.
    ("sentinel-operator", "sentinel.wercker.com", "builds", "get"),
    # After a restart between the Secret of a build's registry logins and its pod.
    ("sentinel-operator", "", "secrets", "update"),
    # An exec over WebSocket is a GET before Kubernetes 1.35.
    ("sentinel-operator", "", "pods/exec", "create"),
    # What a Build that is gone left, where Kubernetes' garbage collector was not there first.
    ("sentinel-operator", "sentinel.wercker.com", "imagecommits", "delete"),
    # Where no agent takes a commit within a minute.
    ("sentinel-operator", "apps", "daemonsets", "get"),
    # A repeated event, which builds seldom have.
    ("sentinel-operator", "events.k8s.io", "events", "patch"),
}
"""Rights that a test run may do without."""


def granted(text: str) -> set[Right]:
    """The rights in a rendered chart."""
    found: set[Right] = set()
    for role in yaml.safe_load_all(text):
        if (role or {}).get("kind") not in ("Role", "ClusterRole"):
            continue
        name = role["metadata"]["name"]
        account = next((each for each in ACCOUNTS if each in name), None)
        if account is None:
            continue
        for rule in role["rules"]:
            found |= {
                (account, group, resource, verb)
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
            }
    return found


def audited(lab: Lab) -> Iterator[tuple[Right, bool]]:
    """What our accounts asked for, and whether RBAC allowed it."""
    ours = f"system:serviceaccount:{NAMESPACE}:sentinel-"
    for event in audit.events(lab.audit_log, holding=ours):
        user = event["user"]["username"]
        target = event.get("objectRef")
        if not user.startswith(ours) or not target:
            continue
        parts = [target["resource"], target.get("subresource", "")]
        resource = "/".join(part for part in parts if part)
        right = (user.rpartition(":")[2], target.get("apiGroup", ""), resource, event["verb"])
        allowed = event.get("annotations", {}).get("authorization.k8s.io/decision") != "forbid"
        yield right, allowed


@pytest.mark.usefixtures("sentinel")
@pytest.mark.alone
def test_nothing_is_granted_that_is_not_used(lab: Lab) -> None:
    used = {right for right, allowed in audited(lab) if allowed}
    assert granted(render(lab, "store.bucket=b")) - used - SELDOM == set()


@pytest.fixture
def one_namespace(sentinel: Lab, kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """Sentinel installed for one namespace only."""
    install(sentinel, quiet=True, more={"namespaces[0]": namespace})
    yield namespace
    restore()  # before the namespace, which has the chart's Roles, is deleted


def may(kubectl: Kubectl, account: str, verb: str, resource: str, namespace: str) -> bool:
    user = f"system:serviceaccount:{NAMESPACE}:{account}"
    try:
        answer = kubectl("auth", "can-i", verb, resource, "-n", namespace, f"--as={user}")
    except KubectlError:
        return False
    return answer.strip() == "yes"


@pytest.mark.alone
def test_with_namespaces_all_rights_are_in_those_and_a_build_runs_whole(
    one_namespace: str, lab: Lab, kubectl: Kubectl
) -> None:
    builds = Builds(lab, kubectl, one_namespace)
    raw = builds.run(url=builds.script("true"), image={"commit": "end"})
    assert verdict(raw) == ("Succeeded", "Passed")
    elsewhere: dict[str, Any] = {
        "operator": [
            ("get", "secrets"),
            ("create", "pods"),
            ("list", "builds.sentinel.wercker.com"),
        ],
        "agent": [("get", "pods"), ("list", "imagecommits.sentinel.wercker.com")],
    }
    for name, rights in elsewhere.items():
        for verb, resource in rights:
            account = f"sentinel-{name}"
            assert may(kubectl, account, verb, resource, one_namespace), (account, verb, resource)
            assert not may(kubectl, account, verb, resource, "kube-system"), (
                account,
                verb,
                resource,
            )
