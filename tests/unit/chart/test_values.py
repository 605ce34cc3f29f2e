"""The chart agrees with its schema, its CRDs with the models, its settings with the code. No cluster is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from sentinel.api.crd import crds, render
from sentinel.settings import Settings

CHART = Path(__file__).parents[3] / "charts/sentinel"


def keys(value: Any, path: str = "") -> set[str]:
    """Dotted paths of all keys of a mapping that has some."""
    if not isinstance(value, dict) or not value:
        return {path} if path else set()
    return set().union(*(keys(each, f"{path}.{key}".strip(".")) for key, each in value.items()))


def described(schema: dict[str, Any], path: str = "") -> set[str]:
    """Dotted paths of all leaves of a schema."""
    properties = schema.get("properties")
    if not properties:
        return {path}
    return set().union(
        *(described(each, f"{path}.{key}".strip(".")) for key, each in properties.items())
    )


def test_every_value_is_in_the_schema_and_every_schema_entry_is_a_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    leaves = described(schema) - {"global"}
    given = keys(values)
    unknown = {
        k for k in given if not any(k == leaf or k.startswith(f"{leaf}.") for leaf in leaves)
    }
    missing = {leaf for leaf in leaves if not any(k == leaf or k.startswith(leaf) for k in given)}
    assert (unknown, missing) == (set(), set())


def test_the_chart_carries_the_crds_of_the_models() -> None:
    packed = {path.name: path.read_text() for path in (CHART / "files/crds").glob("*.yaml")}
    assert packed == {name: render(crd) for name, crd in crds().items()}


def test_every_variable_the_chart_sets_is_a_setting() -> None:
    text = "".join(path.read_text() for path in (CHART / "templates").rglob("*.*"))
    names = set(re.findall(r"SENTINEL_([A-Z_]+)", text))
    assert names
    assert names - set(variables(Settings)) == set()


def variables(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The environment variables of a model's fields, those of nested models too, without SENTINEL_."""
    for name, info in model.model_fields.items():
        nested = info.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from variables(nested, f"{prefix}{name}__".upper())
        # A nested model may be set whole, as JSON.
        yield f"{prefix}{name}".upper()
