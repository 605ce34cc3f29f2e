"""The resolver in the operator's pod: what it does not have, and what a hostile Build does to others: nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.bench.process import parts
from tests.chaos.hostile import (
    Ground,
    Kind,
    growing_box,
    growing_variables,
    many_services,
    near_misses,
    spec_of,
)
from tests.chaos.tenants import restarts
from tests.cluster.conftest import API_VERSION, Builds, eventually
from tests.install import NAMESPACE
from tests.kubectl import Kubectl, KubectlError, condition
from tests.lab.state import Lab

SELECTOR = "app.kubernetes.io/component=operator"
TOKEN = "run/secrets/kubernetes.io/serviceaccount/token"


def test_the_resolver_has_no_token_and_no_credentials(sentinel: Lab, kubectl: Kubectl) -> None:
    pod = kubectl.list("pods", namespace=NAMESPACE, selector=SELECTOR)[0]
    containers = {each["name"]: each for each in pod["spec"]["containers"]}
    resolver = containers["resolver"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert resolver["securityContext"] == containers["operator"]["securityContext"]
    assert resolver["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["name"] for mount in resolver["volumeMounts"]} == {"resolver", "scratch"}
    assert [each["name"] for each in resolver["env"] if "valueFrom" in each] == []
    assert resolver["resources"]["limits"]["memory"] == "1Gi"
    seen = parts(sentinel)
    assert Path(f"/proc/{seen['operator'].pid}/root/{TOKEN}").exists()
    assert not Path(f"/proc/{seen['resolver'].pid}/root/{TOKEN}").exists()


@pytest.mark.alone
def test_hostile_builds_end_and_an_honest_one_beside_them_does_not_notice(
    builds: Builds, kubectl: Kubectl
) -> None:
    before = restarts(builds.lab)
    url = builds.script("echo fine")
    ground = Ground(lab=builds.lab, server="", plain=url, tree="", refs="", image="")
    kinds: tuple[Kind, ...] = (growing_variables, growing_box, many_services, near_misses)
    accepted = []
    for kind in kinds:
        name = kind.__name__.replace("_", "-")
        body = {
            "apiVersion": API_VERSION,
            "kind": "Build",
            "metadata": {"name": name, "namespace": builds.namespace},
            "spec": spec_of(kind, ground),
        }
        try:
            # Not `apply`: its annotation would hold the whole spec once more.
            kubectl("create", "-f", "-", stdin=json.dumps(body))
            accepted.append(name)
        except KubectlError as error:
            assert "spec" in str(error), error
    builds.apply("honest", url=url)
    assert builds.finish("honest")["status"]["phase"] == "Succeeded"
    assert accepted
    for name in accepted:
        ended = builds.finish(name)
        assert ended["status"]["phase"] == "Failed", ended["status"]
        assert condition(ended, "Succeeded")["reason"] in (
            "InvalidSpec",
            "ConfigInvalid",
            "PipelineNotFound",
            "ResolveLimitExceeded",
        )
    after = restarts(builds.lab)
    assert after["operator"] == before["operator"]


@pytest.mark.alone
def test_a_resolver_that_is_killed_is_waited_for(builds: Builds, kubectl: Kubectl) -> None:
    before = restarts(builds.lab)
    url = builds.script("echo fine")
    parts(builds.lab)["resolver"].kill()
    builds.apply("b", url=url)
    assert builds.finish("b")["status"]["phase"] == "Succeeded"
    # The kubelet reports the restart when it comes to it; the build may have ended before.
    eventually(lambda: restarts(builds.lab)["resolver"] > before["resolver"])
    after = restarts(builds.lab)
    assert (after["operator"], after["resolver"]) == (before["operator"], before["resolver"] + 1)
