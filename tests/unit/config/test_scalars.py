"""The vectors of wercker.md "Scalars", with the recommended repairs: what was made empty keeps its text."""

from __future__ import annotations

import pytest

from sentinel.config.document import Scalar, Table, parse
from sentinel.config.findings import Findings
from sentinel.config.scalars import number, property_text, source_text


def scalar(text: str) -> Scalar:
    root = parse(f"x: {text}\n", findings=Findings())
    assert isinstance(root, Table)
    value = root.entries[0][1]
    assert isinstance(value, Scalar)
    return value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *((word, "true") for word in ("true", "True", "TRUE", "yes", "on", "On", "y", "Y")),
        *((word, "false") for word in ("false", "no", "No", "n", "N", "off", "OFF")),
        *((word, "") for word in ("~", "null", "Null", "NULL", "")),
        ("5", "5"),
        ("-3", "-3"),
        ("+5", "5"),
        ("-0", "0"),
        ("0123", "83"),
        ("0x1F", "31"),
        ("0b101", "5"),
        ("-0b11", "-3"),
        ("1_000", "1000"),
        ("9223372036854775807", "9223372036854775807"),
        ("'null'", "null"),
        ('"1.10"', "1.10"),
        ("!!str 1.10", "1.10"),
        ("!!str yes", "yes"),
        ("'yes'", "yes"),
        ("1:30", "1:30"),
        ("1.2.3", "1.2.3"),
        ("2015-01-01", "2015-01-01"),
        ("nO", "nO"),
        ("_1", "_1"),
        # Upstream made all of these empty.
        ("1.10", "1.10"),
        ("2.0", "2.0"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("08", "08"),
        ("99999999999999999999", "99999999999999999999"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_property_of_a_step(written: str, value: str) -> None:
    assert property_text(scalar(written)) == value


@pytest.mark.parametrize(
    ("written", "value"),
    [("1.10", "1.10"), ("yes", "yes"), ("0123", "0123"), ("8", "8"), ("null", ""), ("'~'", "~")],
)
def test_a_field_of_a_box_keeps_its_text(written: str, value: str) -> None:
    assert source_text(scalar(written)) == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("30", 30.0),
        ("7.5", 7.5),
        ("-1", -1.0),
        ("1e2", 100.0),
        ('"30"', None),
        ("30m", None),
        ("yes", None),
        ("1e999", float("inf")),
    ],
)
def test_a_number(written: str, value: float | None) -> None:
    assert number(scalar(written)) == value
