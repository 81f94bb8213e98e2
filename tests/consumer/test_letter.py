"""Which dead letters are meant, and what is no letter."""

import pytest

from hostpulse.bus.errors import MalformedError
from hostpulse.consumer.letter import DeadLetter, Selection, decode, encode, kept

MOMENT = 1_780_000_000.5
LETTER = kept(DeadLetter(b"hostpulse/web-1/cpu", b"\x00\xff{", MalformedError("not JSON: Byte 1")), MOMENT)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(since=MOMENT),
        Selection(until=MOMENT + 0.001),
        Selection(kinds=("unstorable", "malformed")),
        Selection(reasons=("nothing", "json: BYTE")),
        *(
            Selection(topics=(topic,))
            for topic in (
                "hostpulse/web-1/cpu",
                "hostpulse/+/cpu",
                "+/+/+",
                "#",
                "hostpulse/#",
                "hostpulse/web-1/cpu/#",
            )
        ),
        Selection(since=0, until=2e9, topics=("x", "hostpulse/+/+"), kinds=("malformed",), reasons=("json",)),
    ],
)
def test_meant(selection: Selection) -> None:
    assert selection.has(LETTER)
    assert selection.is_everything == (selection == Selection())


@pytest.mark.parametrize(
    "selection",
    [
        Selection(since=MOMENT + 0.001),
        Selection(until=MOMENT),
        Selection(kinds=("unstorable",)),
        Selection(reasons=("xml",)),
        *(
            Selection(topics=(topic,))
            for topic in ("hostpulse/web-1", "hostpulse/+", "+", "hostpulse/web-1/cpu/+", "hostpulse/web-2/#", "", "/#")
        ),
        Selection(kinds=("malformed",), reasons=("xml",)),
    ],
)
def test_not_meant(selection: Selection) -> None:
    assert not selection.has(LETTER)


def test_a_letter_is_read_back() -> None:
    assert decode(encode(LETTER)) == LETTER
    again = LETTER.failed_again(MalformedError("y" * 5000), b"cpu,host=\xff", MOMENT + 60)
    assert decode(encode(again)) == again
    assert (again.time, again.payload, again.retried) == (LETTER.time, LETTER.payload, "2026-05-28T20:27:40.500Z")
    assert (again.row, len(again.reason)) == ("cpu,host=�", 1024)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"null",
        b"{}",
        b"[" * 100_000,
        encode(LETTER)[:-1],
        encode(LETTER).replace(b"2026-", b"someday-"),
        encode(LETTER).replace(b"2026-", b"0000-"),
        encode(LETTER).replace(b'"payload":"', b'"payload":"*'),
        encode(LETTER).replace(b"web-1", b"\xff"),
    ],
)
def test_no_letter(line: bytes) -> None:
    assert decode(line) is None
