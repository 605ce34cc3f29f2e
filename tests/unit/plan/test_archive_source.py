"""A Build of an archive: its names, variables, labels, and what its pod fetches."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.plan.examples import SOURCE, STARTED, build, plan, settings

from sentinel.plan.codec import decode, encode
from sentinel.plan.generic import application_name, generic_variables
from sentinel.plan.model import PlanSource
from sentinel.plan.pod import make_pod
from sentinel.plan.source import archive_name

URL = "https://files.example.com/acme/hello-1.0.tar.gz?X-Signature=abc"
ARCHIVE = PlanSource(url=URL, digest="d" * 64, secret="files")


def archive_build(**spec: Any) -> Any:
    return build(source={"archive": {"url": URL}}, **spec)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (URL, "hello-1.0"),
        ("https://h/a/b.tgz", "b"),
        ("https://h/b.TAR.ZST", "b"),
        ("https://h/b.tzst#x", "b"),
        ("https://h/b.tar", "b"),
        ("https://h/archive/refs/tags/v1.2.zip", "v1.2"),
        ("https://h/my%20project%3A.zip/", "my-project"),
        ("https://h/a..b__c.zip", "a-b-c"),
        ("https://h/download?id=7", "download"),
        ("https://h/", ""),
        ("https://h", ""),
        ("https://[broken/x.zip", ""),
        ("https://h/.tar.gz", ""),
    ],
)
def test_the_application_is_called_after_the_file(url: str, name: str) -> None:
    assert archive_name(url) == name


def test_who_names_the_application_first() -> None:
    assert application_name(archive_build(), source=ARCHIVE) == "hello-1.0"
    named = archive_build(application={"name": "shop"})
    assert application_name(named, source=ARCHIVE) == "shop"
    nameless = replace(ARCHIVE, url="https://h/")
    assert application_name(archive_build(), source=nameless) == "hello-42"


def test_there_is_no_git_in_the_environment() -> None:
    variables = dict(
        generic_variables(
            archive_build(),
            source=ARCHIVE,
            settings=settings(),
            started=STARTED,
            base_path="/pipeline/source",
            source_dir="/pipeline/source",
        )
    )
    git = {name: text for name, text in variables.items() if name.startswith("WERCKER_GIT_")}
    assert git == {
        f"WERCKER_GIT_{name}": ""
        for name in ("DOMAIN", "OWNER", "REPOSITORY", "BRANCH", "TAG", "COMMIT")
    }
    assert variables["WERCKER_APPLICATION_NAME"] == "hello-1.0"
    assert variables["WERCKER_APPLICATION_OWNER_NAME"] == ""


def test_the_pod_fetches_exactly_these_bytes() -> None:
    pod = make_pod(replace(plan(), source=ARCHIVE), build=archive_build(), settings=settings())
    container = pod["spec"]["initContainers"][0]
    assert json.loads(container["env"][0]["value"]) == {
        "url": URL,
        "sha256": "d" * 64,
        "dest": "/mnt/wercker/source",
        "kit": "/run/sentinel/kit",
        "secretDir": "/run/sentinel/git",
        "ignoreFile": ".werckerignore",
        "maxBytes": settings().source.max_gib * 1024**3,
        "network": settings().network.policy().to_json(),
    }
    assert {"name": "git", "mountPath": "/run/sentinel/git", "readOnly": True} in (
        container["volumeMounts"]
    )


def test_a_plan_of_an_archive_travels() -> None:
    there = replace(plan(), source=ARCHIVE)
    assert decode(encode(there)) == there


def test_what_messages_and_labels_call_it() -> None:
    assert (ARCHIVE.revision, ARCHIVE.short) == (
        "sha256:" + "d" * 64,
        "archive sha256:dddddddddddd",
    )
    assert (SOURCE.revision, SOURCE.short) == (SOURCE.commit, SOURCE.commit[:12])
