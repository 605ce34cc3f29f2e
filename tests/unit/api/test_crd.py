"""The definitions: what is written, what they refuse to write, and that the committed files are the models'."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field

from sentinel.api.build import BuildSpec
from sentinel.api.crd import MUTABLE, crds, main, render, structural

ROOT = Path(__file__).parents[3]


def nodes(schema: dict[str, Any], path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from nodes(each, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}.{key}")


def schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    for crd in crds().values():
        root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        yield from nodes(root, crd["spec"]["names"]["kind"])


def test_the_committed_files_are_what_the_models_say() -> None:
    committed = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}

    assert committed == {name: render(crd) for name, crd in crds().items()}, (
        "run `python -m sentinel.api.crd crds`"
    )


def test_the_command_writes_them_into_the_given_directory(tmp_path: Path) -> None:
    assert main([str(tmp_path / "new")]) == 0

    written = {p.name: yaml.safe_load(p.read_text()) for p in (tmp_path / "new").iterdir()}
    assert written == crds()


def test_every_field_is_explained() -> None:
    bare = [
        path
        for path, schema in schemas()
        if not schema.get("description")
        and not path.endswith((".metadata", ".items", ".additionalProperties"))
    ]

    assert bare == []


def test_everything_a_user_writes_is_bounded() -> None:
    """Without bounds the server refuses the rules for their estimated cost."""
    unbounded = [
        path
        for path, schema in schemas()
        if ".spec." in path
        and (
            (schema.get("type") == "array" and "maxItems" not in schema)
            or ("additionalProperties" in schema and "maxProperties" not in schema)
        )
    ]

    assert unbounded == []


def test_patterns_are_anchored_and_use_nothing_that_re2_lacks() -> None:
    patterns = {schema["pattern"] for _, schema in schemas() if "pattern" in schema}

    assert patterns
    for pattern in patterns:
        assert pattern.startswith("^")
        assert pattern.endswith("$")
        assert re.search(r"\(\?[=!<]|\\[1-9]|\(\?P=", pattern) is None


def test_nothing_a_structural_schema_forbids_is_left() -> None:
    forbidden = {"$ref", "anyOf", "oneOf", "title", "default", "const", "$defs", "nullable"}

    assert [(path, forbidden & schema.keys()) for path, schema in schemas()] == [
        (path, set()) for path, _ in schemas()
    ]


def test_each_field_of_a_build_but_the_mutable_ones_has_its_own_rule() -> None:
    spec = crds()["builds.yaml"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][
        "spec"
    ]
    guarded = {
        match[1]
        for rule in spec["x-kubernetes-validations"]
        if (match := re.match(r"has\(self\.(\w+)\)", rule["rule"]))
    }

    fields = {info.alias or name for name, info in BuildSpec.model_fields.items()}
    assert guarded == fields - set(MUTABLE)


def test_conditions_are_a_map_by_type() -> None:
    lists = {
        path: schema.get("x-kubernetes-list-map-keys")
        for path, schema in schemas()
        if path.endswith("status.conditions")
    }

    assert lists == {
        "Build.status.conditions": ["type"],
        "WorkflowRun.status.conditions": ["type"],
    }


class Leaf(BaseModel):
    """A leaf."""

    size: Annotated[int, Field(ge=1, description="How big.")] = 3


class Tree(BaseModel):
    """A tree."""

    leaf: Annotated[Leaf | None, Field(description="Its only leaf.")] = None


class Recursive(BaseModel):
    """Contains itself."""

    inner: Recursive | None = None


class Union(BaseModel):
    """Either or."""

    either: int | str = 1


class Pair(BaseModel):
    """A tuple."""

    pair: tuple[int, str] = (1, "a")


class Whatever(BaseModel):
    """Anything."""

    value: Any = None


def test_references_are_inlined_and_optional_is_not_nullable() -> None:
    assert structural(Tree.model_json_schema()) == {
        "description": "A tree.",
        "type": "object",
        "properties": {
            "leaf": {
                "description": "Its only leaf.",
                "type": "object",
                "properties": {
                    "size": {
                        "description": "How big. Default: 3.",
                        "type": "integer",
                        "minimum": 1,
                    }
                },
            }
        },
    }


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Recursive, "contains itself"),
        (Union, r"\$\.either: a union"),
        (Pair, r"\$\.pair: prefixItems"),
        (Whatever, r"\$\.value: anything"),
    ],
)
def test_what_has_no_structural_form_is_refused_with_its_place(
    model: type[BaseModel], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        structural(model.model_json_schema())
