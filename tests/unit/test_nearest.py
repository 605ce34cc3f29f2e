"""Near misses are found, and a look-up costs the same little whatever the names are."""

from __future__ import annotations

import random

import pytest

from sentinel import nearest as module
from sentinel.nearest import nearest


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("biuld", ["build", "deploy"], ["build"]),
        ("Build", ["build"], ["build"]),
        ("delte", ["delete", "opts"], ["delete"]),
        ("key_id", ["key-id"], ["key-id"]),
        ("readOnlyRootFileSystem", ["readOnlyRootFilesystem"], ["readOnlyRootFilesystem"]),
        ("runAsUsr", ["runAsUser", "runAsGroup"], ["runAsUser"]),
        ("limit", ["limits", "requests"], ["limits"]),
        ("dockerhub", ["docker"], []),
        ("bos", ["box"], []),
        ("", ["a"], []),
        ("x" * 101, ["x" * 101], []),
    ],
)
def test_the_nearest_name(word: str, known: list[str], expected: list[str]) -> None:
    assert nearest(word, known) == expected


def test_the_nearest_come_first_and_a_looser_share_finds_more() -> None:
    known = ["release/1.1", "release/2.0", "main"]

    assert nearest("release/1.2", known, count=2, share=0.5, most=8) == [
        "release/1.1",
        "release/2.0",
    ]
    assert nearest("mian", known, share=0.5, most=8) == ["main"]


def test_the_work_of_one_look_up_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffled repetitive names are difflib's worst case: all have the same letters."""
    rnd = random.Random(1)
    names = ["".join(rnd.sample("ab" * 32, 64)) for _ in range(5000)]
    compared: list[int] = []
    distance = module._distance

    def counted(a: str, b: str, limit: int) -> int:
        compared.append(len(a) * (2 * limit + 1))
        return distance(a, b, limit)

    monkeypatch.setattr(module, "_distance", counted)

    nearest("".join(rnd.sample("ab" * 32, 64)), names)

    assert 0 < sum(compared) <= module.WORK
