"""Names: valid for the API server, the same each time, different for what is different."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from sentinel.plan import names
from sentinel.plan.names import AttemptId

UID = "6f0d3a52-9b1c-4e7e-8a55-3d2f10c4b7aa"
LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
DNS = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?(\.[a-z0-9]{1,60}){0,3}\Z")


@given(build=DNS, uid=st.uuids().map(str), attempt=st.integers(1, 99))
def test_a_pods_name_is_a_label_for_whatever_a_build_may_be_called(
    build: str, uid: str, attempt: int
) -> None:
    for name in (
        AttemptId("ns", build, uid, attempt).pod,
        AttemptId("ns", build, uid, attempt).commit,
        AttemptId("ns", build, uid, attempt).steps,
    ):
        assert len(name) <= 63
        assert LABEL.fullmatch(name)
        assert uid[:8] in name


def test_names_say_whose_they_are() -> None:
    assert AttemptId("ns", "hello-42", UID, 1).pod == "hello-42-6f0d3a52-1"
    assert AttemptId("ns", "a.b", UID, 2).commit == "a-b-6f0d3a52-2-end"
    assert AttemptId("ns", "42", UID, 1).steps == "b-42-6f0d3a52-1-steps"


@given(st.text(max_size=80), st.integers(1, 500))
def test_a_steps_id_is_a_safe_directory_name(name: str, ordinal: int) -> None:
    made = names.step_id(name=name, uid=UID, ordinal=ordinal)

    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*-[0-9a-f]{8}", made)
    assert made == names.step_id(name=name, uid=UID, ordinal=ordinal)
    assert made != names.step_id(name=name, uid=UID, ordinal=ordinal + 1)


@given(st.text(max_size=80), st.integers(1, 32))
def test_a_services_container_has_a_valid_name(alias: str, index: int) -> None:
    made = names.container_name(alias=alias, index=index)

    assert len(made) <= 63
    assert LABEL.fullmatch(made)
    assert made not in (names.BOX, names.SOURCE)


@given(st.text(max_size=300))
def test_a_labels_value_is_one_the_server_takes(text: str) -> None:
    value = names.label_value(text)

    assert value == "" or re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", value)


def test_only_aliases_that_are_host_names_may_stand_in_the_pod() -> None:
    said = {
        alias: names.is_dns_name(alias)
        for alias in ("redis", "my-db", "a.b", "my_db", "Redis", "", "-x", "x-", "a..b")
    }

    assert [alias for alias, fine in said.items() if fine] == ["redis", "my-db", "a.b"]
