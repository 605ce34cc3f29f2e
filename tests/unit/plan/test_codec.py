"""The Plan's way through the pod's annotation and back."""

from __future__ import annotations

import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.plan.examples import plan

from sentinel.api.reasons import Reason
from sentinel.errors import InternalError, NewerPlan, UserError
from sentinel.plan.codec import decode, encode
from sentinel.plan.model import (
    VERSION,
    EnvSource,
    ImageFacts,
    Plan,
    PlanImage,
    PlanService,
    PlanSource,
    PlanStep,
    Variable,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
SECONDS = st.floats(0, 1e6)
IMAGES = st.builds(
    ImageFacts,
    name=TEXT,
    reference=TEXT,
    env=PAIRS,
    ports=st.lists(TEXT, max_size=2).map(tuple),
    entrypoint=st.lists(TEXT, max_size=2).map(tuple),
)
STEPS = st.builds(
    PlanStep,
    ordinal=st.integers(1, 100),
    id=TEXT,
    owner=TEXT,
    name=TEXT,
    display_name=TEXT,
    phase=st.sampled_from(["main", "after"]),
    kind=st.sampled_from(["script", "step"]),
    code=TEXT,
    exports=PAIRS,
    command_timeout=SECONDS,
    no_response_timeout=SECONDS,
)
KEY = st.tuples(TEXT, TEXT)
VARIABLES = st.one_of(
    st.builds(Variable, name=TEXT, value=TEXT),
    st.builds(Variable, name=TEXT, secret=KEY, optional=st.booleans()),
    st.builds(Variable, name=TEXT, config_map=KEY),
    st.builds(EnvSource, kind=st.sampled_from(["secret", "configMap"]), name=TEXT, prefix=TEXT),
)
PLANS = st.builds(
    Plan,
    build=TEXT,
    namespace=TEXT,
    uid=TEXT,
    attempt=st.integers(1, 9),
    pipeline=TEXT,
    source=st.builds(PlanSource, url=TEXT, commit=TEXT, branch=TEXT, submodules=st.booleans()),
    box=IMAGES,
    shell=st.lists(TEXT, max_size=2).map(tuple),
    services=st.lists(
        st.builds(
            PlanService,
            alias=TEXT,
            container=TEXT,
            image=IMAGES,
            env=PAIRS,
            ports=st.lists(st.integers(1, 65535), max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    steps=st.lists(STEPS, max_size=3).map(tuple),
    variables=st.lists(VARIABLES, max_size=6).map(tuple),
    image=st.builds(
        PlanImage,
        commit=st.sampled_from(["never", "end", "onFailure", "eachStep"]),
        repository=TEXT,
    ),
    pending_timeout=SECONDS,
    deploy=st.booleans(),
)


def packed(document: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()


@given(PLANS)
def test_what_comes_back_is_what_went_in(each: Plan) -> None:
    assert decode(encode(each)) == each


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: base64.b64encode(b).decode()))
def test_what_is_not_a_plan_is_refused(text: str) -> None:
    with pytest.raises(InternalError, match="annotation"):
        decode(text)


def test_a_newer_operators_plan_is_left_alone() -> None:
    with pytest.raises(NewerPlan, match=f"version 99, this operator reads up to {VERSION}"):
        decode(packed({"version": 99, "plan": {"shape": "of the future"}}))


def test_a_plan_without_its_fields_is_refused() -> None:
    with pytest.raises(InternalError, match="holds no plan"):
        decode(packed({"version": 1, "plan": {"build": "x"}}))


def test_a_bomb_is_not_unpacked() -> None:
    bomb = base64.b64encode(zlib.compress(b" " * 50_000_000)).decode()

    with pytest.raises(InternalError, match="expands without end"):
        decode(bomb)


def test_a_plan_too_large_for_an_annotation_is_the_users_to_shorten() -> None:
    noise = "".join(chr(0x4E00 + (n * 7919) % 20000) for n in range(150_000))
    yml = f"box: debian\nbuild:\n  steps:\n    - script:\n        code: '{noise}'\n"

    with pytest.raises(
        UserError, match=r"204800; the largest is step 1 \(script\), 150000 characters. Move long"
    ) as caught:
        encode(plan(yml=yml, services=()))

    assert caught.value.reason is Reason.INVALID_SPEC
