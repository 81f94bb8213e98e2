"""The short notation of series: `70x6 86x14 _x3 90+0.5x10 'read_only'x2 true`.

A word is a value for one step, or for several with `x` and their number; `_` is no sample. `90+0.5x3` is 90, 90.5, 91.
Text stands in single quotes, without spaces.
"""

import re
from collections.abc import Iterator

from hostpulse.bus.errors import UsageError

from ..model import Reading

__all__ = ["parse_series"]

_UNSIGNED = r"\d{1,18}(?:\.\d{1,18})?(?:e[+-]?\d{1,2})?"  # so that no number is without end
_WORD = re.compile(
    rf"(?:(?P<number>-?{_UNSIGNED})(?P<step>[+-]{_UNSIGNED})?|(?P<text>'[^']*')|(?P<flag>true|false)|_)"
    r"(?:x(?P<count>\d{1,6}))?",
    re.ASCII,
)


def parse_series(text: str, most: int) -> tuple[Reading | None, ...]:
    """Return the value of each step; None where there is no sample.

    Args:
        text: the words.
        most: how many values there may be.

    Raises:
        UsageError: a word is none, or they are too many.
    """
    words: list[re.Match[str]] = []
    for word in text.split():
        found = _WORD.fullmatch(word)
        if found is None:
            raise UsageError(f"{word[:40]!r} is no value; write for example 70x6 90+0.5x10 _x3 'ok'x5 true")
        words.append(found)
    if sum(int(found["count"] or 1) for found in words) > most:
        raise UsageError(f"there are more than {most} values left for this file; part it")
    return tuple(value for found in words for value in _expanded(found))


def _expanded(found: re.Match[str]) -> Iterator[Reading | None]:
    count = int(found["count"] or 1)
    for number in range(count):
        if found["number"]:
            yield float(found["number"]) + float(found["step"] or 0) * number
        elif found["text"]:
            yield found["text"][1:-1]
        else:
            yield None if found["flag"] is None else found["flag"] == "true"
