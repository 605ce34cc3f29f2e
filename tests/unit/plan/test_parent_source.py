"""A Build with a parent: its box, variables and plan, and what its pod fetches."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.plan.examples import SOURCE, STARTED, YML, build, facts_of, plan, settings

from sentinel.api.build import Build
from sentinel.api.reasons import Reason
from sentinel.errors import NotVerified, UserError
from sentinel.plan.codec import decode, encode
from sentinel.plan.derive import derive_again
from sentinel.plan.generic import generic_variables, is_deploy
from sentinel.plan.model import PlanOutput, PlanSource
from sentinel.plan.outputs import output_key, plan_output
from sentinel.plan.pod import make_pod
from sentinel.plan.seal import pod_imprint

IMAGE = "registry.example.com/team/hello@sha256:" + "b" * 64
OUTPUT = PlanOutput(
    build="hello-41", application="hello", uid="u-41", attempt=1, sha256="5" * 64, size=7
)
INHERITED = replace(SOURCE, parent_image=IMAGE, inherited=True, outputs=(OUTPUT,), secret="git")


def child(*, source: Any = None, **spec: Any) -> Build:
    raw: dict[str, Any] = {"parent": {"name": "hello-41"}, **spec}
    if source is not None:
        raw["source"] = source
    made = build()
    return Build.parse({"metadata": made.metadata, "spec": raw})


def box_of(yml: str, *, source: PlanSource = INHERITED, pipeline: str = "deploy") -> str:
    return facts_of(child(pipeline=pipeline), yml=yml, source=source).images.box.image


OWN = "deploy:\n  box: {}\n  steps:\n    - script: {{code: 'true'}}\n"


def test_the_default_box_is_the_parent_s_image() -> None:
    assert box_of(YML) == IMAGE
    assert box_of("deploy:\n  steps:\n    - script: {code: 'true'}\n") == IMAGE


def test_a_pipeline_s_own_box_goes_before_it_and_may_be_it() -> None:
    assert box_of(OWN.format("alpine:3")) == "alpine:3"
    assert box_of(OWN.format("$WERCKER_LAST_BUILD_BOX")) == IMAGE
    assert box_of(OWN.format("${WERCKER_LAST_BUILD_BOX}")) == IMAGE


def test_a_parent_without_an_image_leaves_the_file_s_box() -> None:
    bare = replace(INHERITED, parent_image="")
    assert box_of(YML, source=bare) == "debian:12"
    with pytest.raises(UserError, match=r"set for a Build whose spec\.parent has pushed") as caught:
        box_of(OWN.format("$WERCKER_LAST_BUILD_BOX"), source=bare)
    assert caught.value.reason is Reason.INVALID_IMAGE_NAME


def variables(of: Build, source: PlanSource = INHERITED) -> dict[str, str]:
    return dict(
        generic_variables(
            of,
            source=source,
            settings=settings(),
            started=STARTED,
            base_path="/pipeline/source",
            source_dir="/pipeline/source",
        )
    )


def test_what_follows_another_build_has_a_deploy_s_variables() -> None:
    found = variables(child(pipeline="release", deployTarget="production"))
    assert found["DEPLOY"] == "true"
    assert found["WERCKER_DEPLOYTARGET_NAME"] == "production"
    assert "CI" not in found and "BUILD" not in found and "WERCKER_BUILD_ID" not in found
    assert found["WERCKER_LAST_BUILD_BOX"] == IMAGE
    assert found["WERCKER_GIT_COMMIT"] == SOURCE.commit
    assert found["WERCKER_GIT_BRANCH"] == "main"
    assert found["WERCKER_APPLICATION_NAME"] == "hello"
    assert is_deploy(child(pipeline="test"))
    assert not is_deploy(build())
    assert "WERCKER_LAST_BUILD_BOX" not in variables(build(), SOURCE)


def fetched(source: PlanSource) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fetcher's task, and the pod's spec."""
    spec = make_pod(replace(plan(), source=source), build=child(), settings=settings())["spec"]
    return json.loads(spec["initContainers"][0]["env"][0]["value"]), spec


def test_the_pod_fetches_the_output_and_no_repository() -> None:
    task, spec = fetched(INHERITED)
    assert task["outputs"] == [
        {"build": "hello-41", "directory": "", "sha256": "5" * 64, "size": 7}
    ]
    assert "commit" not in task and "sha256" not in task and task["secretDir"] == ""
    mounts = {each["name"] for each in spec["initContainers"][0]["volumeMounts"]}
    assert "outputs" in mounts and "git" not in mounts
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert volumes["outputs"]["secret"]["secretName"].endswith("-1-outputs")
    assert "outputs" not in {each["name"] for each in spec["containers"][0]["volumeMounts"]}


def test_without_an_output_the_pod_fetches_what_the_parent_was_built_from() -> None:
    task, spec = fetched(replace(INHERITED, outputs=()))
    assert task["commit"] == SOURCE.commit
    assert "outputs" not in task
    assert "git" in {each["name"] for each in spec["initContainers"][0]["volumeMounts"]}


def test_another_secret_for_the_outputs_is_another_pod() -> None:
    made = replace(plan(), source=INHERITED)
    _, spec = fetched(INHERITED)
    before = pod_imprint(spec, made)
    next(v for v in spec["volumes"] if v["name"] == "outputs")["secret"]["secretName"] = "mine"
    assert pod_imprint(spec, made) != before


def test_an_output_is_taken_whole() -> None:
    assert plan().ignore_file == ".werckerignore"
    assert plan(child(), source=INHERITED).ignore_file == ""


def test_the_plan_survives_its_annotation_and_is_derived_again() -> None:
    made = plan(child(), source=INHERITED)
    assert decode(encode(made)) == made
    # Only what an older release would do wrong keeps it away.
    assert (made.version, plan().version) == (3, 2)
    assert derive_again(made, build=child(), settings=settings()) == made


def test_a_plan_with_another_source_than_the_build_is_not_verified() -> None:
    of = child()
    made = plan(of, source=INHERITED)
    own = child(source={"git": {"url": SOURCE.url}})
    for wrong, against in (
        (made, own),
        (replace(made, source=SOURCE), of),
        (replace(made, source=replace(SOURCE, outputs=(OUTPUT,))), own),
        (made, build()),
    ):
        with pytest.raises(NotVerified):
            derive_again(wrong, build=against, settings=settings())
    mine = replace(made, source=replace(SOURCE, parent_image=IMAGE))
    assert derive_again(mine, build=own, settings=settings()).source.url == SOURCE.url


def test_a_key_is_below_the_build_s_own_namespace_whatever_a_status_says() -> None:
    raw = {
        "metadata": {"name": "hello-41", "namespace": "team", "uid": "u-41"},
        "spec": {"source": {"git": {"url": SOURCE.url}}},
        "status": {
            "pod": {"attempt": 3},
            "results": {
                "prefix": "x/other/project-artifacts/../u-1/9/",
                "output": {"sizeBytes": 7, "sha256": "5" * 64},
            },
        },
    }
    output = plan_output(Build.parse(raw), directory="d")
    assert output is not None
    key = output_key(
        output, namespace="team", settings=settings(store={"bucket": "b", "prefix": "p"})
    )
    assert key.startswith("p/team/project-artifacts/") and key.endswith("/u-41/3/output.tar")
    assert ".." not in key.split("/")
    raw["status"]["results"].pop("output")
    assert plan_output(Build.parse(raw), directory="") is None
