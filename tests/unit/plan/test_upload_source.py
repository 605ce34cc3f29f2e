"""A Build of a directory that is sent to its pod: what the pod is given, and what a plan read back may say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.plan.examples import SOURCE, build, plan, settings

from sentinel.api.reasons import Reason
from sentinel.plan.codec import decode, encode
from sentinel.plan.generic import application_name
from sentinel.plan.model import PlanSource
from sentinel.plan.observe import PodView
from sentinel.plan.pod import make_pod
from sentinel.plan.start import waits_for_upload

SHA = "d" * 64
UPLOAD = PlanSource(url="", digest=SHA, upload=1234)


def uploaded(sha256: str = SHA, size: int = 1234, **spec: Any) -> Any:
    source = {"upload": {"sha256": sha256, "size": size}}
    return build(source=source, config="box: debian:12", **spec)


def test_the_pod_waits_for_exactly_these_bytes_and_has_no_address() -> None:
    pod = make_pod(replace(plan(), source=UPLOAD), build=uploaded(), settings=settings())
    container = pod["spec"]["initContainers"][0]
    said = json.loads(container["env"][0]["value"])
    assert (said["url"], said["sha256"], said["upload"]) == ("", SHA, 1234)
    assert {each["name"] for each in container["volumeMounts"]} == {"wercker", "kit"}


def test_a_plan_read_back_has_what_the_build_says() -> None:
    there = replace(plan(), source=replace(UPLOAD, parent_image="r@sha256:1"))
    assert decode(encode(there)) == there
    other = uploaded(sha256="e" * 64, size=5).spec.source
    again = there.source.again(other)
    assert again == replace(UPLOAD, digest="e" * 64, upload=5, parent_image="r@sha256:1")


@pytest.mark.parametrize(
    ("source", "of"),
    [
        (UPLOAD, build()),
        (UPLOAD, build(source={"archive": {"url": "https://h/p.tar"}})),
        (SOURCE, uploaded()),
        (PlanSource(url="https://h/p.tar", digest=SHA), uploaded()),
    ],
)
def test_a_plan_of_another_kind_of_source_is_not_this_builds(source: PlanSource, of: Any) -> None:
    with pytest.raises(LookupError):
        source.again(of.spec.source)


def test_what_people_read() -> None:
    assert UPLOAD.short == "upload sha256:dddddddddddd"
    assert UPLOAD.revision == f"sha256:{SHA}"
    assert application_name(uploaded(), source=UPLOAD) == "hello-42"


def test_what_the_pod_waits_for_is_shown_while_it_does() -> None:
    waiting = waits_for_upload(PodView(name="p", fetch_running=True), size=1234)
    assert waiting is not None
    assert (waiting.reason, waiting.verdict) == (Reason.PENDING, "wait")
    assert "1234 bytes, which `sentinel run --cluster` sends to pod p" in waiting.message
    assert waits_for_upload(PodView(name="p"), size=1234) is None
    assert waits_for_upload(PodView(name="p", fetch_running=True), size=0) is None
