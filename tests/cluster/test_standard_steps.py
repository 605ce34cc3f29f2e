"""Standard steps on a cluster: they come with our image, run in the box's shell, and find the tools of its owner."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.conftest import Builds, steps
from tests.install import install
from tests.kubectl import condition
from tests.lab.state import Lab

from sentinel.cli.steps import PUBLISH_TOKEN

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef-of-the-registry"

YML = """\
box: {registry}/box/{box}
build:
  steps:
    - script:
        name: a box with npm
        code: |
          mkdir -p "$HOME/bin"
          printf '#!/bin/sh\\necho "npm $*, cache $npm_config_cache"\\n' > "$HOME/bin/npm"
          chmod +x "$HOME/bin/npm"
          export PATH="$HOME/bin:$PATH"
          echo 'made $MADE' > page.template
    - npm-install@1.1.4: {{options: --no-audit}}
    - npm-test
    - mktemp: {{envvar: MADE}}
    - create-file: {{filename: note, content: 'made $MADE'}}
    - bash-template
    - script:
        name: look
        code: '[ "$(cat page)" = "made $MADE" ] && [ "$(cat note)" = "made $MADE" ] && [ -f "$MADE" ]'
  after-steps:
    - hipchat-notify: {{token: x, room-id: y, passed-message: well done}}
"""


@pytest.mark.parametrize("box", ["debian:12", "busybox:1"])
def test_a_file_of_ten_years_ago_just_runs(builds: Builds, box: str) -> None:
    raw = builds.run(url=builds.project(YML.format(registry=builds.lab.registry, box=box)))

    assert raw["status"]["phase"] == "Succeeded", json.dumps(raw["status"], indent=1)
    assert {state for _, state, _ in steps(raw)} == {"Passed"}
    assert (
        builds.log(raw, "npm-install")
        == "npm install --no-audit, cache /pipeline/cache/wercker/npm\n"
    )
    assert builds.log(raw, "hipchat-notify").endswith("well done\n")
    (warning,) = [each["message"] for each in raw["status"]["diagnostics"]]
    assert warning.startswith(
        "npm-install@1.1.4: version 1.1.4 is gone: Sentinel's own npm-install "
    )
    # Nothing but the image brought them.
    made = "app.kubernetes.io/managed-by=sentinel"
    assert builds.kubectl.list("configmaps", namespace=builds.namespace, selector=made) == []


def test_a_step_that_is_in_no_registry_is_named_with_a_standard_one_like_it(builds: Builds) -> None:
    text = YML.format(registry=builds.lab.registry, box="debian:12").replace(
        "- npm-test", "- acme/npm-test"
    )
    raw = builds.run(url=builds.project(text))

    accepted = condition(raw, "Accepted")
    assert accepted["reason"] == "StepNotFound"
    assert "step acme/npm-test is not a standard step" in accepted["message"]
    assert "There is a standard step wercker/npm-test: did you mean that?" in accepted["message"]


@pytest.fixture
def provided(builds: Builds, sentinel: Lab) -> None:
    """A tool of the operator's owner, from a ConfigMap of the namespace."""
    text = "#!/bin/sh\necho provided golint\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    row = {"name": "golint", "version": "1.0", "path": "golint", "sha256": digest}
    builds.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "tools", "namespace": builds.namespace},
            "data": {"tools.json": json.dumps([row]), "golint": text},
        }
    )
    more = {"steps.tools.configMap.name": "tools", "steps.tools.configMap.defaultMode": "493"}
    install(sentinel, quiet=True, more=more)


def test_a_tool_that_the_box_lacks_is_provided(builds: Builds, provided: None) -> None:
    text = f"box: {builds.lab.registry}/box/debian:12\nbuild:\n  steps:\n    - golint\n"
    raw = builds.run(url=builds.project(text))

    assert raw["status"]["phase"] == "Succeeded", json.dumps(raw["status"], indent=1)
    assert builds.log(raw, "golint") == "provided golint\n"

    # A namespace without them has a note, and steps that need none run.
    builds.kubectl("delete", "configmap", "tools", "-n", builds.namespace)
    text = text.replace("- golint", "- create-file: {filename: note, content: x}")
    raw = builds.run("without", url=builds.project(text))

    assert raw["status"]["phase"] == "Succeeded", json.dumps(raw["status"], indent=1)
    note = f"there is no ConfigMap tools in namespace {builds.namespace}, which the setting"
    assert note in condition(raw, "Accepted")["message"]


@pytest.fixture
def open_registry(sentinel: Lab, tmp_path: Path) -> Iterator[str]:
    """A registry that takes uploads, of the directory `tmp_path`; its URL."""
    command = [sys.executable, "-m", "sentinel", "steps", "serve", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--listen", f"{sentinel.gateway}:0"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator"), PUBLISH_TOKEN: TOKEN},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            yield line.removeprefix("step registry at ").removesuffix(", accepts uploads")
        finally:
            process.terminate()


def test_a_step_is_published_once(builds: Builds, open_registry: str, tmp_path: Path) -> None:
    builds.secret("registry", token=TOKEN)
    url = builds.project(
        f"box: {builds.lab.registry}/box/debian:12\n"
        "build:\n  steps:\n    - internal/publish-step: {owner: acme, path: steps/deploy}\n",
        **{"steps/deploy/step.yml": "name: deploy\nversion: 1.0.0\n", "steps/deploy/run.sh": ":\n"},
    )
    reference = {"secretKeyRef": {"name": "registry", "key": "token"}}
    env = [
        {"name": "STEP_REGISTRY_URL", "value": open_registry},
        {"name": "STEP_REGISTRY_TOKEN", "valueFrom": reference},
    ]

    first = builds.run("first", url=url, env=env)
    again = builds.run("again", url=url, env=env)

    assert first["status"]["phase"] == "Succeeded", json.dumps(first["status"], indent=1)
    assert "published acme/deploy@1.0.0" in builds.log(first, "publish-step")
    assert (tmp_path / "acme/deploy/1.0.0/run.sh").read_text() == ":\n"
    assert again["status"]["phase"] == "Failed"
    assert "acme/deploy@1.0.0 exists, and versions are never overwritten" in json.dumps(
        again["status"]
    )
    for raw in (first, again):
        assert TOKEN not in json.dumps(raw) + builds.log(raw, "publish-step")
