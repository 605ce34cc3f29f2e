"""A project without wercker.yml is built by one made for it, where the setting is on."""

from __future__ import annotations

import subprocess

import pytest
from tests.cluster.conftest import Builds, steps
from tests.install import environ, install
from tests.kubectl import condition
from tests.lab.state import Lab

from sentinel.config.detect import detect


@pytest.fixture
def detecting(sentinel: Lab) -> None:
    """The setting on for every Build; public images are those of the lab's registry."""
    box, public = f"{sentinel.registry}/box/debian:12", f"{sentinel.registry}/debian:12"
    for command in (["tag", box, public], ["push", "--quiet", public]):
        subprocess.run(["docker", *command], check=True, capture_output=True, env=environ(sentinel))
    values = {"operator.detectConfig": "true", "images.defaultRegistry": sentinel.registry}
    install(sentinel, quiet=True, more=values)


@pytest.mark.usefixtures("detecting")
def test_a_project_without_wercker_yml_is_built_and_what_was_made_for_it_is_recorded(
    builds: Builds,
) -> None:
    raw = builds.run(url=builds.project(None, NOTES="nothing that we know\n"))

    assert condition(raw, "Succeeded")["status"] == "True", condition(raw, "Succeeded")
    assert raw["status"]["generatedConfig"] == detect(["NOTES", "README.md"]).text
    assert steps(raw) == [("hello", "Passed", "Passed")]
    assert "NOTES" in builds.log(raw, "hello")

    own = builds.script("echo mine", name="own")
    raw = builds.run("own", url=own)
    assert steps(raw) == [("own", "Passed", "Passed")]
    assert "generatedConfig" not in raw["status"]
