"""A wercker.yml for a project without one: always the same, small, and one that we can run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.config.detect import TEXT_LIMIT, detect
from sentinel.config.load import load, pipeline_of


@pytest.mark.parametrize(
    ("names", "kind", "because", "box"),
    [
        (["package.json", "Gemfile"], "nodejs", "package.json", "node:22"),
        (["requirements.txt", "main.go"], "python", "requirements.txt", "python:3.13-slim"),
        (["Gemfile"], "ruby", "Gemfile", "ruby:3.4"),
        (["z.go", "a.go", "Makefile"], "golang", "a.go", "golang:1.25"),
        (["pom.xml"], "java-maven", "pom.xml", "maven:3-eclipse-temurin-21"),
        (["gradlew", "build.gradle"], "java-gradle", "gradlew", "eclipse-temurin:21"),
        (["build.gradle"], "java-gradle", "build.gradle", "gradle:8-jdk21"),
        (["README"], "default", "", "debian:12"),
        ([], "default", "", "debian:12"),
    ],
)
def test_a_project_is_known_by_its_files(
    names: list[str], kind: str, because: str, box: str
) -> None:
    found = detect(names)

    assert (found.kind, found.because) == (kind, because)
    loaded = load(found.text.encode())
    assert loaded.diagnostics == ()
    assert loaded.config is not None
    assert loaded.config.box is not None
    assert loaded.config.box.id == box
    # No step has to be fetched for it.
    assert {step.kind for step in pipeline_of(loaded, "build").steps} == {"script"}
    assert detect(list(reversed(names))) == found


@given(st.lists(st.text(max_size=300).map(lambda name: name + ".go"), max_size=5))
def test_no_name_breaks_the_text(names: list[str]) -> None:
    found = detect(names)

    assert load(found.text.encode()).diagnostics == ()
    assert len(found.text.encode()) <= TEXT_LIMIT
