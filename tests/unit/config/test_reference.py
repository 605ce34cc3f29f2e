"""The reference pages: generated, complete, and what the code says today."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from sentinel.config.codes import Code

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools/reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_code_has_an_example_that_earns_it(reference: ModuleType) -> None:
    assert set(reference.EXAMPLES) == set(Code)
    for code, example in reference.EXAMPLES.items():
        assert f" {code}: " in reference.said(code, example.text)


def test_the_committed_pages_are_what_would_be_written(reference: ModuleType) -> None:
    pages = reference.pages()
    committed = {
        name: (ROOT / "docs/reference" / name).read_text(encoding="utf-8") for name in pages
    }

    assert committed == pages, "run `make generate`"


def test_ten_real_mistakes_are_reported(reference: ModuleType) -> None:
    table = [line for line in reference.mistakes_page().splitlines() if line.startswith("| ")]
    assert len(table) == 12
