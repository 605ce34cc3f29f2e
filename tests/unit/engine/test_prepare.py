"""Which configuration a Build goes by."""

from __future__ import annotations

from sentinel.config.detect import detect
from sentinel.engine.prepare import GENERATED, choose_config
from sentinel.source.git import Resolved


def resolved(files: dict[str, bytes], *root: str) -> Resolved:
    return Resolved(commit="c", branch="main", tag="", subject="", files=files, root=root)


def test_the_first_of_the_known_names_counts() -> None:
    found = resolved({".wercker.yml": b"box: b\n", "wercker.yml": b"box: a\n"}, "package.json")

    assert choose_config(found, generate=True) == ("wercker.yml", b"box: a\n")


def test_a_project_without_one_gets_one_made_only_where_the_operator_says_so() -> None:
    found = resolved({}, "README.md", "go.mod")

    assert choose_config(found, generate=False) is None
    assert choose_config(found, generate=True) == (
        GENERATED,
        detect(["README.md", "go.mod"]).text.encode(),
    )
