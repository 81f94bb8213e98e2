"""What goes out at once: some entries of the journal as a message for people and for programs."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from hostpulse.bus.times import format_duration

from ..alerting.journal import Entry
from ..alerts import Kind, Transition

__all__ = ["Notification", "notification_of"]

_VERSION = 1
_LATE_SECONDS = 300.0
_ID_LENGTH = 32
_ORDER = ("critical", "warning", "no data", "acknowledged", "resolved")
_WORDS = {Kind.RESOLVED: "resolved", Kind.NO_DATA: "no data", Kind.ACKNOWLEDGED: "acknowledged"}


class Notification(Struct, frozen=True, kw_only=True):
    """Some entries of the journal that are told together.

    Attributes:
        id: the same at each attempt, also after a restart; no two notifications share one.
        route: name of the route.
        entries: oldest first; one at least.
    """

    id: str
    route: str
    entries: tuple[Entry, ...]

    @property
    def worst(self) -> str:
        """What the worst of it is: `critical`, `warning`, `no data`, `acknowledged` or `resolved`."""
        return min((_word(entry.transition) for entry in self.entries), key=_ORDER.index)

    def title(self, now: float) -> str:
        """Return one line for people.

        Args:
            now: seconds since the epoch.
        """
        if len(self.entries) == 1:
            [entry] = self.entries
            return f"[{_label(entry.transition)}] {_sentence(entry.transition)}{_ago(entry.transition, now)}"
        counts = Counter(_word(entry.transition) for entry in self.entries)
        return f"{len(self.entries)} alerts: {', '.join(f'{counts[word]} {word}' for word in _ORDER if counts[word])}"

    def body(self, now: float, limit: int) -> str:
        """Return a line for each alert; what has no room is counted.

        Args:
            now: seconds since the epoch.
            limit: characters that the service takes.
        """
        lines = [_line(entry.transition, now) for entry in self.entries]
        text = "\n".join(lines)
        shown = len(lines)
        while len(text) > limit and shown > 1:
            shown -= 1
            text = "\n".join([*lines[:shown], f"and {len(lines) - shown} more: hostpulse alerts history"])
        return text[:limit]

    def document(self) -> bytes:
        """Return the body of a webhook: JSON, the same at each attempt."""
        return msgspec.json.encode(
            {
                "v": _VERSION,
                "id": self.id,
                "route": self.route,
                "title": self.title(self.entries[-1].timestamp),
                "alerts": [_alert(entry.transition) for entry in self.entries],
            }
        )


def notification_of(route: str, session: float, entries: Sequence[Entry]) -> Notification:
    """Return the notification of some entries.

    Args:
        route: its name.
        session: of the journal, for numbers begin anew in another one.
        entries: oldest first.
    """
    numbers = ",".join(str(entry.number) for entry in entries)
    digest = hashlib.sha256(f"{route}\n{session:.3f}\n{numbers}".encode()).hexdigest()
    return Notification(id=digest[:_ID_LENGTH], route=route, entries=tuple(entries))


def _alert(transition: Transition) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(transition)
    return {"id": transition.id, "instance": transition.instance} | found


def _word(transition: Transition) -> str:
    return _WORDS.get(transition.kind, "critical" if transition.level == "critical" else "warning")


def _label(transition: Transition) -> str:
    return f"{'still ' if transition.kind is Kind.REPEATED else ''}{_word(transition)}"


def _sentence(transition: Transition) -> str:
    """Return the summary, which need not name the host, with it."""
    summary = transition.summary or transition.instance
    return _printable(summary if transition.host in summary else f"{transition.host}: {summary}")


def _line(transition: Transition, now: float) -> str:
    moment = datetime.fromtimestamp(transition.moment).astimezone()
    late = _ago(transition, now)
    notes = ", ".join([_printable(transition.instance), *(["flapping"] if transition.flapping else [])])
    when = f"{moment:%Y-%m-%d %H:%M:%S}{late}" if late else f"{moment:%H:%M:%S}"
    return f"{when} [{_label(transition)}] {_sentence(transition)} ({notes})"


def _ago(transition: Transition, now: float) -> str:
    """Say how long ago it was, where that is worth a word."""
    age = now - transition.moment
    return f" ({format_duration(age)} ago)" if age > _LATE_SECONDS else ""


def _printable(text: str) -> str:
    """Return one line without what could steer the reader's program: names come from the bus."""
    return "".join(_signs(text))


def _signs(text: str) -> Iterable[str]:
    return (sign if sign.isprintable() else "�" for sign in text)
