import math

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from hostpulse.publisher.rates import Moment, Stopwatch, elapsed, per_second, percent, whole_per_second

COUNTERS = st.integers(0, 2**64 - 1)
SECONDS = st.floats(1e-6, 1e7)


@given(now=COUNTERS, before=COUNTERS, seconds=SECONDS)
def test_counter_that_fell_has_no_rate_and_any_other_a_sane_one(now: int, before: int, seconds: float) -> None:
    rate, whole = per_second(now, before, seconds), whole_per_second(now, before, seconds)
    if now < before:
        assert rate is UNSET
        assert whole is UNSET
        return
    assert isinstance(rate, float)
    assert math.isfinite(rate)
    assert rate >= 0
    assert abs(rate - (now - before) / seconds) <= 0.05 + rate * 1e-15
    if whole is UNSET:  # more than a message can hold
        assert rate > 2**62
    else:
        assert isinstance(whole, int)
        assert abs(whole - rate) <= 0.56 + rate * 1e-15
        assert whole < 2**63


@given(value=st.one_of(st.none(), COUNTERS), seconds=st.one_of(st.none(), st.floats(-1e9, 0)))
def test_no_rate_without_a_time(value: int | None, seconds: float | None) -> None:
    assert per_second(value, 0, seconds) is UNSET
    assert whole_per_second(value, 0, seconds) is UNSET


@given(known=COUNTERS, seconds=SECONDS)
def test_no_rate_without_both_readings(known: int, seconds: float) -> None:
    for function in (per_second, whole_per_second):
        assert function(None, known, seconds) is UNSET
        assert function(known, None, seconds) is UNSET


@given(part=st.floats(-1e300, 1e300), whole=st.floats(-1e300, 1e300))
def test_percent_lies_within_0_and_100(part: float, whole: float) -> None:
    share = percent(part, whole)
    if whole <= 0:
        assert share is UNSET
    else:
        assert isinstance(share, float)
        assert 0 <= share <= 100


def test_percent_is_rounded_to_one_place() -> None:
    assert (percent(1, 3), percent(2, 3), percent(0, 5), percent(5, 5)) == (33.3, 66.7, 0.0, 100.0)


@given(monotonic=st.floats(0, 1e8), boottime=st.floats(0, 1e8), awake=st.floats(-10, 1e5), asleep=st.floats(0, 1e6))
def test_time_over_a_suspension_is_not_known(monotonic: float, boottime: float, awake: float, asleep: float) -> None:
    seconds = elapsed(Moment(monotonic + awake, boottime + awake + asleep), Moment(monotonic, boottime))
    if asleep >= 1.001 or awake <= -1e-6:
        assert seconds is None
    elif asleep <= 0.999 and awake >= 1e-6:
        assert seconds is not None
        assert abs(seconds - awake) < 1e-6


def test_stopwatch(clocks) -> None:
    stopwatch = Stopwatch(clocks.clock)
    assert stopwatch.lap() is None
    assert stopwatch.lap() is None  # no time has gone by
    clocks.advance(2)
    assert stopwatch.lap() == 2
    clocks.wall -= 86400  # somebody sets the clock
    clocks.advance(0.5)
    assert stopwatch.lap() == 0.5
    clocks.advance(2, suspended=30)
    assert stopwatch.lap() is None
    clocks.advance(2)
    assert stopwatch.lap() == 2
