"""Seventy-three real files, read as the original read them."""

from __future__ import annotations

import json
import os
import shutil
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

DELIBERATE = {
    "008": {"/pipelines/build/steps/0/data/version": ("0.12", "")},
    "009": {"/pipelines/build/steps/2/data/version": ("0.14", "")},
    "068": {"/pipelines/build/steps/0/data/version": ("0.12", "")},
}
"""File → path → (ours, theirs): the first row of docs/reference/differences.md."""

ROOT = Path(__file__).parents[3]

MISSING = "the corpus of real files, ../shared/corpus/real, is not here"


@pytest.fixture
def real() -> Path:
    """The folder. Without it the comparison is skipped, and fails in CI, where it must not go unseen."""
    if CORPUS.is_dir():
        return CORPUS
    return pytest.fail(MISSING) if os.environ.get("CI") else pytest.skip(MISSING)


def test_the_files_that_differ_are_listed_in_the_docs() -> None:
    page = (ROOT / "docs/reference/differences.md").read_text(encoding="utf-8")

    assert all(f"`{name}`" in page for name in DELIBERATE)


@pytest.mark.parametrize(("ci", "verdict"), [("", "4 skipped"), ("1", "4 errors")])
def test_without_the_corpus_the_comparison_is_refused_and_fails_in_ci(
    tmp_path: Path, ci: str, verdict: str
) -> None:
    """In a copy of what it needs, beside which there is no ../shared."""
    for name in (
        "tests/__init__.py",
        "tests/corpus",
        "tests/unit/config",
        "operator",
        "pyproject.toml",
    ):
        target = tmp_path / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, target, ignore=skip)
        else:
            shutil.copy(ROOT / name, target)
    (tmp_path / "checkout/docs/reference").mkdir(parents=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"),
            "tests/unit/config/test_corpus.py",
            "-k=real or rejected or canonical",
        ],
        cwd=tmp_path / "checkout",
        env={k: v for k, v in os.environ.items() if k not in ("CI", "PYTHONPATH")}
        | ({"CI": ci} if ci else {}),
        capture_output=True,
        text=True,
        check=False,
    )

    assert verdict in done.stdout
    assert "../shared/corpus/real, is not here" in done.stdout


def test_every_real_file_means_what_it_meant(real: Path) -> None:
    """Floats among a step's options keep their text, where the original made them empty: on purpose."""
    found: dict[str, dict[str, tuple[Any, Any]]] = {}
    files = sorted(real.glob("*.yml"))
    for path in files:
        theirs = json.loads(path.with_suffix(".expected.json").read_text())
        ours = canonical(load(path.read_bytes()))
        if (path.stem in REJECTED) and theirs["error"] and ours["error"]:
            continue
        if differs := differences(ours, theirs):
            found[path.stem] = differs

    assert len(files) == 73
    assert found == DELIBERATE


def test_each_rejected_file_is_reported_with_the_place(real: Path) -> None:
    lines = {name: load((real / f"{name}.yml").read_bytes()).diagnostics for name in REJECTED}

    assert {name: [d.line for d in found] for name, found in lines.items()} == {
        name: [line] for name, line in REJECTED.items()
    }


def test_the_canonical_form_is_printed_byte_for_byte(real: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "tests.corpus.canonical", str(real / "004.yml")],
        capture_output=True,
        check=True,
        cwd=ROOT,
    )

    assert printed.stdout == (real / "004.expected.json").read_bytes()


def test_real_files_that_are_accepted_fit_the_schema_for_editors(real: Path) -> None:
    validator = jsonschema.Draft202012Validator(wercker_schema())
    wrong = {}
    for path in sorted(real.glob("*.yml")):
        loaded = load(path.read_bytes())
        if any(d.severity == "error" for d in loaded.diagnostics):
            continue
        root = parse(loaded.text, findings=Findings())
        if errors := [e.message for e in validator.iter_errors(plain(root))]:
            wrong[path.stem] = errors

    assert wrong == {}
