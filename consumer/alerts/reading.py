"""Reading the keys of a rule: each value with where it was written, and every mistake collected."""

import math
import re
import tomllib
from collections.abc import Mapping
from typing import Any, NamedTuple

from hostpulse.bus.errors import MistakesError, UsageError
from hostpulse.bus.times import parse_duration

from .metrics import hint

__all__ = ["Entry", "Keys", "Problems", "read_toml", "shown"]

_LONGEST = 60
_LONGEST_TEXT = 1 << 20  # characters
_MOST_DOTS = 100  # outside of quotes in a line: what tomllib needs for a key grows with the square of its parts
_QUOTED = re.compile(r""""[^"]*"|'[^']*'""")
_MOST_MISTAKES = 50
_MOST_TEXTS = 1000


class Entry(NamedTuple):
    """A value, and the file that it is from."""

    value: object
    origin: str


class Problems:
    """Mistakes, a line for each.

    Args:
        error: what they become.
    """

    def __init__(self, error: type[MistakesError]) -> None:
        self._error = error
        self._lines: list[str] = []
        self._added = 0

    def add(self, origin: str, text: str) -> None:
        """Note a mistake that was made in a file.

        Raises:
            MistakesError: of the kind given; there are so many that nobody reads on.
        """
        line = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in f"{origin}: {text}")
        if line not in self._lines:
            self._lines.append(line)
        self._added += 1
        if self._added == _MOST_MISTAKES:
            raise self._error(*self._lines, f"{origin}: there may be more mistakes; mend these first")

    def check(self) -> None:
        """Do nothing if there was no mistake.

        Raises:
            MistakesError: of the kind given, with a line for each.
        """
        if self._lines:
            raise self._error(*self._lines)


def read_toml(name: str, text: str, problems: Problems) -> dict[str, Any]:
    """Return what a file says; nothing if it is not TOML, or so large that reading it would take minutes.

    Args:
        name: of the file.
        text: its content.
        problems: where the mistake goes.
    """
    if len(text) > _LONGEST_TEXT:
        problems.add(name, f"has more than {_LONGEST_TEXT} characters; part it")
        return {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _MOST_DOTS and _QUOTED.sub("", line).count(".") > _MOST_DOTS:
            problems.add(name, f"line {number} has more than {_MOST_DOTS} dots outside of quotes; part it")
            return {}
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        words = str(error) or "nested too deeply"
        problems.add(name, f"not valid TOML: {words[:1].lower()}{words[1:]}")
        return {}


class Keys:
    """A table of a rule, whose keys are asked for one after another.

    What is wrong becomes a problem, and the answer is what is answered where the key is not there.

    Args:
        path: of the table: `rule.disk_full.warning`.
        entries: its keys.
        problems: where mistakes go.
    """

    def __init__(self, path: str, entries: Mapping[str, Entry], problems: Problems) -> None:
        self.path = path
        self._entries = entries
        self._problems = problems

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    @property
    def origin(self) -> str:
        """The file of the key that was written last."""
        return list(self._entries.values())[-1].origin if self._entries else ""

    def check_names(self, known: tuple[str, ...]) -> bool:
        """Complain of keys that mean nothing; return whether there are none."""
        wrong = {key: entry for key, entry in self._entries.items() if key not in known}
        for key, entry in wrong.items():
            self._problems.add(entry.origin, f"{self.path} has no key {shown(key)}{hint(key, known)}")
        return not wrong

    def wrong(self, key: str, text: str) -> None:
        """Complain of a key."""
        self._problems.add(self._entries[key].origin if key in self._entries else self.origin, self._line(key, text))

    def wrong_together(self, key: str, text: str) -> None:
        """Complain of a key that is right on its own: the mistake is of the file that wrote last."""
        self._problems.add(self.origin, self._line(key, text))

    def _line(self, key: str, text: str) -> str:
        return f"{self.path}.{key} {text}"

    def raw(self, key: str) -> object:
        """Return what is written; None if nothing is."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def number(self, key: str) -> float | None:
        """Return a number."""
        value = self.raw(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            self.wrong(key, f"must be a number, not {shown(value)}")
            return None
        return float(value)

    def duration(self, key: str, default: float) -> float:
        """Return the seconds of a duration, which are written as text with a unit."""
        value = self.raw(key)
        if value is None:
            return default
        try:
            if isinstance(value, str):
                return parse_duration(value)
        except UsageError:
            pass
        self.wrong(key, f"must be a duration such as 30s, 5m or 2h, not {shown(value)}")
        return default

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.wrong(key, f"must be true or false, not {shown(value)}")
        return default

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        """Return one of a few words."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, str) and value in choices:
            return value
        self.wrong(key, f"must be one of {', '.join(choices)}, not {shown(value)}")
        return default

    def text(self, key: str, default: str) -> str:
        """Return text."""
        value = self.raw(key)
        if value is None or isinstance(value, str):
            return default if value is None else value
        self.wrong(key, f"must be text, not {shown(value)}")
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """Return texts, of which one may stand without a list."""
        value = self.raw(key)
        if value is None:
            return ()
        many: list[object] = value if isinstance(value, list) else [value]
        if len(many) > _MOST_TEXTS:
            self.wrong(key, f"has {len(many)} texts, more than {_MOST_TEXTS}; patterns such as 'web-*' may do")
            return ()
        texts = tuple(one for one in many if isinstance(one, str) and one)
        if len(texts) == len(many):
            return texts
        self.wrong(key, f"must be text or a list of texts, not {shown(value)}")
        return ()

    def table(self, key: str) -> "Keys | None":
        """Return a table in this one."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if not isinstance(entry.value, dict):
            self.wrong(key, f"must be a table, not {shown(entry.value)}")
            return None
        inner = {
            name: value if isinstance(value, Entry) else Entry(value, entry.origin)
            for name, value in entry.value.items()
        }
        return Keys(f"{self.path}.{key}", inner, self._problems)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # TOML's whole numbers have no end
        return False


def shown(value: object) -> str:
    """Return a value as an error line shows it."""
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST else value[:_LONGEST] + "…")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.15g}" if not abs(value) >= 2**63 else "a huge number"
    return {"dict": "a table", "list": "a list"}.get(type(value).__name__, f"a {type(value).__name__}")
