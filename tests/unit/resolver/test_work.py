"""Which configuration a Build goes by."""

from __future__ import annotations

from sentinel.config.detect import detect
from sentinel.resolver.reading import GENERATED, choose_config


def test_the_first_of_the_known_names_counts() -> None:
    files = {".wercker.yml": b"box: b\n", "wercker.yml": b"box: a\n"}

    assert choose_config(files, ["package.json"], generate=True) == ("wercker.yml", b"box: a\n")


def test_a_project_without_one_gets_one_made_only_where_the_operator_is_set_to() -> None:
    root = ["README.md", "go.mod"]

    assert choose_config({}, root, generate=False) is None
    assert choose_config({}, root, generate=True) == (GENERATED, detect(root).text.encode())
