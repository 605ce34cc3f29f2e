"""Manifests in both names and shapes, whole and broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.steps import Manifest, Property, read_manifest

LIST = b"""\
name: deploy
version: 1.2.0
summary: Deploys
tags: [a, b]
properties:
  - name: key-id
    type: string
    required: true
  - name: times
    type: int
    default: 0123
  - name: loud
    type: bool
    required: no
    default: yes
"""
MAP = b"""\
name: deploy
version: 0.0.9
description: Deploys, long ago
keywords:
  - a
properties:
  key-id:
    type: string
    required: true
  times:
    type: int
    default: 0123
  quiet:
"""


def test_a_list_and_a_map_of_properties_keep_their_order_and_their_defaults_text() -> None:
    assert read_manifest({"step.yml": LIST}) == Manifest(
        name="deploy",
        version="1.2.0",
        summary="Deploys",
        properties=(
            Property(name="key-id", type="string", required=True),
            Property(name="times", type="int", default="0123"),
            Property(name="loud", type="bool", default="yes"),
        ),
        file="step.yml",
    )
    assert read_manifest({"wercker-step.yml": MAP}) == Manifest(
        name="deploy",
        version="0.0.9",
        summary="Deploys, long ago",
        properties=(
            Property(name="key-id", type="string", required=True),
            Property(name="times", type="int", default="0123"),
            Property(name="quiet"),
        ),
        file="wercker-step.yml",
    )


def test_either_shape_is_read_from_either_file_and_step_yml_wins() -> None:
    assert [p.name for p in read_manifest({"step.yml": MAP}).properties] == [
        "key-id",
        "times",
        "quiet",
    ]
    assert read_manifest({"wercker-step.yml": LIST}).version == "1.2.0"
    assert read_manifest({"wercker-step.yml": MAP, "step.yml": LIST}).file == "step.yml"


def test_no_manifest_is_fine() -> None:
    assert read_manifest({"run.sh": b"true"}) == Manifest()


@pytest.mark.parametrize(
    ("text", "warnings", "properties"),
    [
        (b"a: [", ["step.yml:2: this is not YAML: "], ()),
        (b"\xff\xfe", ["step.yml:1: the file is UTF-16 text, not UTF-8"], ()),
        (b"- a", ["step.yml: not a manifest"], ()),
        (b"just words", ["step.yml: not a manifest"], ()),
        (b"", [], ()),
        (b"properties: text", ["step.yml:1: properties should be a list or a map"], ()),
        (
            b"properties:\n  - type: string\n  - name: a\n    default: [1]\n    required: perhaps",
            [
                "step.yml:2: a property without a name",
                "step.yml:5: required of property a should be true or false",
                "step.yml:4: default should be a string",
            ],
            (Property(name="a"),),
        ),
        (
            b"properties:\n  - a\n  - b:\n      default: x",
            [],
            (Property(name="a"), Property(name="b", default="x")),
        ),
        (
            b"properties:\n  a: value",
            ["step.yml:2: property a should have type, required and default under it"],
            (Property(name="a"),),
        ),
        (
            b"properties:\n  - name: a\n  - name: a\n    default: 2",
            ["step.yml:3: property a is declared twice"],
            (Property(name="a", default="2"),),
        ),
        (b"name: [x]\nversion: 1.10", ["step.yml:1: name should be a string"], ()),
    ],
)
def test_what_is_wrong_with_a_manifest_is_a_warning_with_its_place(
    text: bytes, warnings: list[str], properties: tuple[Property, ...]
) -> None:
    found = read_manifest({"step.yml": text})

    assert found.properties == properties
    assert len(found.warnings) == len(warnings), found.warnings
    for said, begins in zip(sorted(found.warnings), sorted(warnings), strict=True):
        assert said.startswith(begins)


def test_numbers_stay_as_they_are_written() -> None:
    assert read_manifest({"step.yml": b"version: 1.10"}).version == "1.10"


@given(st.binary(max_size=300) | st.text(alphabet="ab:-\n []{}&*?'\"<!|>", max_size=60))
def test_no_bytes_make_it_fail(data: bytes | str) -> None:
    found = read_manifest({"step.yml": data if isinstance(data, bytes) else data.encode()})

    assert found.file == "step.yml"
    assert all(line.isprintable() for line in found.warnings)
