"""Builds that go on from other Builds: image, output, variables, waiting, and what ends them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.conftest import API_VERSION, Builds
from tests.cluster.test_bad_input import message
from tests.kubectl import condition

YML = """\
box: {box}
build:
  steps:
    - script:
        name: make
        code: |
          echo from the image > /etc/made
          mkdir -p "$WERCKER_OUTPUT_DIR/bin"
          printf '#!/bin/sh\\necho from the output\\n' > "$WERCKER_OUTPUT_DIR/bin/app"
          chmod 0755 "$WERCKER_OUTPUT_DIR/bin/app"
          ln -s bin/app "$WERCKER_OUTPUT_DIR/app"
broken:
  steps:
    - script: {{code: exit 3}}
deploy:
  steps:
    - script: {{code: exit 9}}
  production:
    - script:
        name: look
        code: |
          ./app; cat /etc/made; test ! -e wercker.yml
          echo "$DEPLOY ${{CI-unset}} $WERCKER_DEPLOYTARGET_NAME $WERCKER_GIT_BRANCH $WERCKER_GIT_COMMIT"
          echo "$WERCKER_LAST_BUILD_BOX"
          test "$WERCKER_DEPLOY_ID" = "$WERCKER_RUN_ID" -a "$WERCKER_SOURCE_DIR" = "$PWD"
          mkdir -p "$WERCKER_OUTPUT_DIR"; echo deployed > "$WERCKER_OUTPUT_DIR/report"
after:
  box: $WERCKER_LAST_BUILD_BOX
  steps:
    - script:
        name: look
        code: cat report /etc/made
fresh:
  box: {box}
  steps:
    - script:
        name: look
        code: |
          test ! -e /etc/made; cat one/app two/report; ls
"""


def child(builds: Builds, name: str, parent: str, pipeline: str, **spec: Any) -> dict[str, Any]:
    """A Build with that parent and no source."""
    body = {"parent": {"name": parent}, "pipeline": pipeline, "image": {"commit": "never"}}
    return {
        "apiVersion": API_VERSION,
        "kind": "Build",
        "metadata": {"name": name, "namespace": builds.namespace},
        "spec": {**body, **spec},
    }


@pytest.mark.timeout(900)
def test_deploys_go_on_from_image_output_and_source_of_their_parents(builds: Builds) -> None:
    url = builds.project(YML.format(box=f"{builds.lab.registry}/box/debian:12"), private=True)
    builds.secret(
        "git",
        type_="kubernetes.io/basic-auth",
        username=builds.lab.git_user,
        password=builds.lab.git_password,
    )
    # All of them before their parents, and the last first: each waits, and none holds what its parent needs. A parent
    # must appear within 30 s, so that each half is one command.
    inputs = [{"name": "b", "directory": "one"}, {"name": "d", "directory": "two"}]
    commit = {"commit": "end"}
    builds.kubectl.apply(
        child(builds, "of-nothing", "nobody", "deploy"),
        child(builds, "both", "d", "fresh", inputs=inputs),
        child(builds, "e", "d", "after"),
        child(builds, "d", "b", "deploy", deployTarget="production", image=commit),
        child(builds, "of-broken", "broken", "deploy"),
        child(builds, "of-itself", "of-itself", "deploy"),
    )
    login = {"secretRef": {"name": "git"}}
    builds.kubectl.apply(
        builds.body("broken", url=url, pipeline="broken", git=login),
        builds.body("b", url=url, git=login, image=commit),
    )
    waiting = builds.kubectl.wait_for(
        "build",
        "of-nothing",
        namespace=builds.namespace,
        until=lambda raw: (
            "nobody, the parent, does not exist yet"
            in condition(raw, "Succeeded").get("message", "")
        ),
    )
    assert waiting["status"]["phase"] == "Queued"

    built, deployed = builds.finish("b", timeout=300), builds.finish("d", timeout=300)
    assert deployed["status"]["phase"] == "Succeeded", message(deployed)
    image = built["status"]["image"]
    reference = f"{image['repository']}@{image['digest']}"
    commit = built["status"]["source"]["commit"]
    assert builds.log(deployed, "look") == (
        f"from the output\nfrom the image\ntrue unset production main {commit}\n{reference}\n"
    )
    assert deployed["status"]["box"]["digest"] == image["digest"]
    assert deployed["status"]["source"] == built["status"]["source"]

    after = builds.finish("e", timeout=300)
    assert after["status"]["phase"] == "Succeeded", message(after)
    assert builds.log(after, "look") == "deployed\nfrom the image\n"
    both = builds.finish("both", timeout=300)
    assert both["status"]["phase"] == "Succeeded", message(both)
    assert builds.log(both, "look").endswith("echo from the output\ndeployed\none\ntwo\n")

    ends = {"of-broken": "ParentFailed", "of-nothing": "ParentNotFound", "of-itself": "InvalidSpec"}
    for name, reason in ends.items():
        raw = builds.finish(name)
        assert (raw["status"]["phase"], condition(raw, "Accepted")["reason"]) == ("Failed", reason)
        assert builds.pods(name) == []
    assert "broken" in message(builds.get("of-broken"))
    # The URLs went with their pods.
    secrets = builds.kubectl.list("secrets", namespace=builds.namespace)
    assert [each["metadata"]["name"] for each in secrets] == ["git"]
