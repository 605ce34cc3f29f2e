"""Text in messages: counted nouns."""

from __future__ import annotations

from sentinel.text import count_of


def test_a_noun_is_singular_for_one_only() -> None:
    assert [count_of(n, "step") for n in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]
    assert [count_of(n, "entry", "entries") for n in (1, 3)] == ["1 entry", "3 entries"]
