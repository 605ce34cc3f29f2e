"""How fast a box is read: a burst, then a rate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sentinel.session.allowance import BURST, EACH, RATE, Allowance


def test_a_burst_is_free_and_what_is_beyond_it_is_waited_for() -> None:
    allowance = Allowance(burst=1000, rate=100, now=0)
    assert allowance.spend(1000, messages=0, now=0) == 0
    assert allowance.spend(100, messages=0, now=0) == 1
    assert allowance.spend(0, messages=0, now=1) == 0
    assert allowance.spend(1000, messages=0, now=1000) == 0


def test_small_messages_count_more_than_their_bytes() -> None:
    assert Allowance(burst=0, rate=EACH, now=0).spend(0, messages=10, now=0) == 10


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 1000)), max_size=50))
def test_waiting_as_asked_never_exceeds_the_rate(said: list[tuple[int, int]]) -> None:
    allowance, now, total = Allowance(now=0), 0.0, 0
    for size, messages in said:
        now += allowance.spend(size, messages=messages, now=now)
        total += size + EACH * messages
    assert total <= BURST + RATE * now + 1
