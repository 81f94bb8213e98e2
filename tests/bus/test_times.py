from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostpulse.bus.errors import UsageError
from hostpulse.bus.times import format_duration, format_timestamp, parse_duration, parse_moment, to_milliseconds

_YEAR_2262 = 9_214_646_400


@given(st.integers(0, _YEAR_2262 * 1000))
def test_a_timestamp_keeps_its_milliseconds(milliseconds):
    text = format_timestamp(milliseconds / 1000)
    assert to_milliseconds(datetime.fromisoformat(text)) == milliseconds


def test_the_form_of_a_timestamp():
    assert format_timestamp(1773480413.589) == "2026-03-14T09:26:53.589Z"
    assert format_timestamp(0) == "1970-01-01T00:00:00.000Z"


def test_milliseconds_are_rounded_down():
    assert to_milliseconds(datetime(1970, 1, 1, 0, 0, 1, 1_999, tzinfo=UTC)) == 1001
    assert to_milliseconds(datetime(2261, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == 9_214_646_399_999


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("15m", 900), ("2h", 7200), ("1h30m", 5400), ("7d", 604_800), ("2w", 1_209_600),
        ("1y", 31_536_000), ("500ms", 0.5), ("0.5s", 0.5), ("1.5h", 5400), ("1m500ms", 60.5), ("0s", 0),
    ],
)  # fmt: skip
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "5 s", "5S", "1h 30m", ".5s", "1.s", "٣s", "5s\n", "1e3s", "5sx"]
)
def test_what_is_no_duration(text):
    with pytest.raises(UsageError, match="is not a duration; write for example"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9" * 400 + "y", "1" + "0" * 330 + "s"])
def test_a_duration_beyond_all_bounds(text):
    with pytest.raises(UsageError):
        parse_duration(text)
    with pytest.raises(UsageError):
        parse_moment(text, now=0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "250ms"), (2, "2s"), (90, "1m 30s"), (900, "15m"), (93_784, "1d 2h"), (86_400, "1d"), (0, "0ms"),
        (0.9996, "1s"), (59.7, "1m"),
    ],
)  # fmt: skip
def test_durations_for_people(seconds, text):
    assert format_duration(seconds) == text


@given(st.integers(1, 10**9))
def test_a_duration_for_people_is_right_to_its_two_units(seconds):
    text = format_duration(seconds).replace(" ", "")
    assert 0 <= seconds - parse_duration(text) < max(3600, seconds / 24)


def test_moments():
    now = 1_800_000_000.0
    assert parse_moment("now", now=now) == now
    assert parse_moment("15m", now=now) == now - 900
    assert parse_moment("2026-03-14T09:26:53Z", now=now) == 1773480413
    assert parse_moment("2026-03-14T10:26:53.5+01:00", now=now) == 1773480413.5
    assert parse_moment("2026-03-14", now=now) == datetime(2026, 3, 14).astimezone().timestamp()


@given(st.text(max_size=30))
def test_any_text_is_a_moment_or_a_usage_error(text):
    with suppress(UsageError):
        assert isinstance(parse_moment(text, now=1e9), float)
