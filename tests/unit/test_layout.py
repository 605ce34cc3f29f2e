"""What must hold of the repository itself."""

from __future__ import annotations

import operator
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_folder_operator_is_not_a_package() -> None:
    """With an __init__.py in it, Python's own `operator` would be shadowed from the repository's root."""
    assert not (ROOT / "operator/__init__.py").exists()
    assert Path(operator.__file__).name == "operator.py"


def test_python_starts_from_the_repository_s_root() -> None:
    code = "import operator, collections; print(operator.itemgetter(0)('ok'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "o\n"


def test_every_module_has_a_docstring_and_is_not_too_long() -> None:
    modules = [p for p in (ROOT / "operator/sentinel").rglob("*.py") if "_pb2" not in p.name]
    bare = [str(p) for p in modules if not p.read_text().lstrip().startswith('"""')]
    long = [str(p) for p in modules if len(p.read_text().splitlines()) > 450]
    assert modules
    assert (bare, long) == ([], [])


def test_the_locked_requirements_name_no_index() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert "--index-url" not in text
        assert "://" not in text
