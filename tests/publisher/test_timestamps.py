"""Each message of a subsystem has a timestamp of its own, whatever becomes of the clock."""

from hypothesis import given
from hypothesis import strategies as st

from hostpulse.publisher.timestamps import Timestamps


def test_a_clock_that_goes_on_is_followed() -> None:
    timestamps = Timestamps()
    assert [timestamps.take(now) for now in (1000, 1500, 2000)] == [1000, 1500, 2000]


def test_a_clock_that_stands_still_or_goes_back_by_a_moment_is_not() -> None:
    timestamps = Timestamps()
    assert [timestamps.take(now) for now in (5000, 5000, 4500, 5100)] == [5000, 5001, 5002, 5100]


def test_moments_that_come_twice_are_handed_out_once() -> None:
    timestamps = Timestamps()
    first = [timestamps.take(now) for now in range(10_000, 20_000, 500)]
    again = [timestamps.take(now) for now in range(13_000, 25_000, 500)]
    assert not set(first) & set(again)
    assert all(0 <= taken - now <= 1 for now, taken in zip(range(13_000, 25_000, 500), again, strict=True))


def test_an_hour_of_every_two_seconds_is_remembered() -> None:
    timestamps = Timestamps()
    moments = range(0, 3_600_000, 2000)
    assert len({timestamps.take(now) for _ in range(2) for now in moments}) == 2 * len(moments)


@given(st.lists(st.integers(0, 60_000), max_size=500))
def test_whatever_the_clock_does(clock: list[int]) -> None:
    timestamps = Timestamps()
    taken = [timestamps.take(now) for now in clock]
    assert len(set(taken)) == len(taken)
