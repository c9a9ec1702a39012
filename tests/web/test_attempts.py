"""How often one may fail: some at once, then slowly, each place by itself, and never more places than we remember."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livelake.web.attempts import Attempts


def test_some_failures_are_free_and_then_each_waits() -> None:
    attempts = Attempts(burst=3, every=10.0)
    for n in range(3):
        assert attempts.wait("a", 100.0) == 0.0
        assert attempts.failed("a", 100.0) is (n == 2)
    assert attempts.wait("a", 100.0) == 10.0
    assert attempts.wait("a", 109.0) == 1.0
    assert attempts.wait("a", 110.0) == 0.0
    assert attempts.wait("b", 100.0) == 0.0


@given(st.lists(st.floats(0, 20), min_size=1, max_size=200))
def test_in_any_span_of_time_no_more_get_through_than_allowed(pauses: list[float]) -> None:
    attempts, now, through = Attempts(burst=5, every=2.0), 0.0, list[float]()
    for pause in pauses:
        now += pause
        if attempts.wait("a", now) == 0.0:
            attempts.failed("a", now)
            through.append(now)
    for first, begin in enumerate(through):
        for last, end in enumerate(through[first:], first):
            assert last - first + 1 <= 5 + (end - begin) / 2.0 + 1e-6


def test_a_place_with_a_whole_network_of_addresses_is_one() -> None:
    attempts = Attempts(burst=1, every=10.0)
    attempts.failed("2001:db8::1", 0.0)
    assert attempts.wait("2001:db8::ffff:1", 0.0) == 10.0
    assert attempts.wait("2001:db8:0:1::1", 0.0) == 0.0


def test_the_places_are_bounded_and_who_is_at_it_is_not_forgotten() -> None:
    attempts = Attempts(burst=1, every=10.0, most=100)
    for n in range(1_000):
        attempts.failed(f"10.0.{n // 250}.{n % 250}", 0.0)
        attempts.failed("at it", 0.0)
    assert len(attempts) == 100
    assert attempts.wait("at it", 0.0) > 10.0
    attempts.failed("x" * 100_000, 0.0)
    assert max(len(each) for each in attempts._paid_until) <= 64
