"""Seventy-three real files, read as the original read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.corpus import REAL as CORPUS
from tests.corpus.canonical import canonical, differences
from tests.unit.config.plain import plain

from sentinel.config.document import parse
from sentinel.config.findings import Findings
from sentinel.config.load import load
from sentinel.config.schema import wercker_schema

REJECTED = {"001": 1, "014": 6, "035": 21, "039": 4, "046": 13, "050": 63, "077": 36}
"""Files that are no YAML, and the line that we send their author to."""

pytestmark = pytest.mark.skipif(
    not CORPUS.is_dir() and not os.environ.get("CI"),
    reason="the corpus of real files, ../shared/corpus/real, is not here",
)


def test_every_real_file_means_what_it_meant() -> None:
    """Floats among a step's options keep their text, where the original made them empty: on purpose."""
    found: dict[str, dict[str, tuple[Any, Any]]] = {}
    files = sorted(CORPUS.glob("*.yml"))
    for path in files:
        theirs = json.loads(path.with_suffix(".expected.json").read_text())
        ours = canonical(load(path.read_bytes()))
        if (path.stem in REJECTED) and theirs["error"] and ours["error"]:
            continue
        if differs := differences(ours, theirs):
            found[path.stem] = differs

    assert len(files) == 73
    assert found == {
        "008": {"/pipelines/build/steps/0/data/version": ("0.12", "")},
        "009": {"/pipelines/build/steps/2/data/version": ("0.14", "")},
        "068": {"/pipelines/build/steps/0/data/version": ("0.12", "")},
    }


def test_each_file_that_is_rejected_is_told_where() -> None:
    lines = {name: load((CORPUS / f"{name}.yml").read_bytes()).diagnostics for name in REJECTED}

    assert {name: [d.line for d in found] for name, found in lines.items()} == {
        name: [line] for name, line in REJECTED.items()
    }


def test_the_canonical_form_is_printed_byte_for_byte() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "tests.corpus.canonical", str(CORPUS / "004.yml")],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )

    assert printed.stdout == (CORPUS / "004.expected.json").read_bytes()


def test_real_files_that_are_accepted_fit_the_schema_for_editors() -> None:
    validator = jsonschema.Draft202012Validator(wercker_schema())
    wrong = {}
    for path in sorted(CORPUS.glob("*.yml")):
        loaded = load(path.read_bytes())
        if any(d.severity == "error" for d in loaded.diagnostics):
            continue
        root = parse(loaded.text, findings=Findings())
        if errors := [e.message for e in validator.iter_errors(plain(root))]:
            wrong[path.stem] = errors

    assert wrong == {}
