"""The rate, the mask and the patience."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostpulse.consumer.notifications import unknown_tags
from hostpulse.consumer.notifications.patience import asked_wait
from hostpulse.consumer.notifications.rate import Rate
from hostpulse.consumer.notifications.secrecy import Mask

from .conftest import route

NOW = 1_790_000_000.0


@given(most=st.integers(1, 60), pauses=st.lists(st.floats(0, 900), max_size=200))
def test_there_are_never_more_in_an_hour(most: int, pauses: list[float]) -> None:
    now = [0.0]
    rate = Rate(most, clock=lambda: now[0])
    sent: list[float] = []
    for pause in pauses:
        now[0] += pause
        now[0] += rate.wait()
        while rate.wait() > 0:  # what rounding has left
            now[0] += 1e-6
        rate.take()
        sent.append(now[0])
    for first, last in zip(sent, sent[most:], strict=False):
        assert last - first >= 3600 - 1e-3


def test_half_of_them_go_out_at_once_and_the_rest_spread_over_the_hour() -> None:
    now = [0.0]
    rate = Rate(30, clock=lambda: now[0])
    for _ in range(15):
        assert rate.wait() == 0
        rate.take()
    assert rate.wait() == pytest.approx(240)
    now[0] += 240
    assert rate.wait() == pytest.approx(0, abs=1e-6)
    rate = Rate(1, clock=lambda: now[0])
    assert rate.wait() == 0
    rate.take()
    assert rate.wait() == pytest.approx(3600)


@pytest.mark.parametrize(
    "text",
    [
        "cannot log in as anna:geheim1234",
        "no route to tgram://123456789:AAbbcc/42424242",
        "/s3cr3t-path?key=v4lue was not found",
        "anna%40example.org",
        "mailto://anna%40example.org:geheim1234@mail.example.org/s3cr3t-path?key=v4lue",
    ],
)
def test_parts_of_addresses_are_hidden(text: str) -> None:
    mask = Mask(
        "mailto://anna%40example.org:geheim1234@mail.example.org/s3cr3t-path?key=v4lue",
        "tgram://123456789:AAbbcc/42424242",
        shown="mail.example.org",
    )
    said = mask(text)
    for secret in ("geheim1234", "anna", "s3cr3t-path", "v4lue", "123456789", "AAbbcc", "42424242"):
        assert secret not in said
    assert "***" in said


def test_the_rest_of_what_is_said_stays() -> None:
    mask = Mask("https://hook.example.org/tok123", shown="hook.example.org")
    assert mask("hook.example.org\nanswered\x1b 404: no tok123") == "hook.example.org answered 404: no ***"
    assert mask("tok1234 is another one") == "tok1234 is another one"
    assert len(mask("x" * 1000)) == 300
    assert Mask()("anything") == "anything"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("17", 17),
        ("-5", 0),
        ("86400", 3600),
        ("nan", None),
        ("soon", None),
        ("", None),
        (format_datetime(datetime.fromtimestamp(NOW + 60, UTC), usegmt=True), 60),
        (format_datetime(datetime.fromtimestamp(NOW - 60, UTC), usegmt=True), 0),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert asked_wait(value, NOW) == seconds


def test_tags_that_no_route_has() -> None:
    tags = {"disk_full": ("opps", "storage"), "cpu_hot": ("heat",), "memory_low": ()}
    routes = [route(tags=("ops", "storage")), route(name="all")]
    assert unknown_tags(tags, routes) == [
        "rule.disk_full.notify names the tag 'opps', which no route has; did you mean ops?",
        "rule.cpu_hot.notify names the tag 'heat', which no route has; name it in alerts.notify.NAME.tags of one",
    ]
    assert unknown_tags(tags, []) == []
