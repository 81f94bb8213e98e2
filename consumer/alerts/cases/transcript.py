"""Transcripts: what happened, a line for each thing, and how it differs from what was expected."""

import difflib
from collections.abc import Iterator, Sequence

from ..transition import Transition
from .case import Case
from .play import START

__all__ = ["compare", "line_of"]

_MINUTE, _HOUR = 60, 3600


def line_of(transition: Transition) -> str:
    """Return a transition as a test writes it: `2m h1 cpu_hot warning fired told`."""
    labels = [f"{name}={value}" for name, value in transition.labels.items()]
    told = "told" if transition.told else f"({transition.why})"
    flapping = ["flapping"] if transition.flapping else []
    words = [transition.host, transition.rule, *labels, transition.level, transition.kind, *flapping, told]
    return f"{transition.moment - START:g} {' '.join(words)}"


def compare(case: Case, transitions: Sequence[Transition], troubles: Sequence[str]) -> list[str]:
    """Return the lines of a difference, with `-` for what was expected and `+` for what happened; none if all is right.

    Args:
        case: what was expected.
        transitions: what happened.
        troubles: what could not be done.
    """
    happened = [line_of(transition) for transition in transitions]
    if list(case.expect) == happened and not troubles:
        return []
    lines = _difference([_readable(line) for line in case.expect], [_readable(line) for line in happened])
    return [*(f"! {trouble}" for trouble in troubles), *lines]


def _difference(expected: Sequence[str], happened: Sequence[str]) -> Iterator[str]:
    """Yield all lines; `ndiff` would do, but takes minutes for a thousand lines that are all a little different."""
    matcher = difflib.SequenceMatcher(None, expected, happened, autojunk=False)
    for what, begin, end, other_begin, other_end in matcher.get_opcodes():
        if what == "equal":
            yield from (f"  {line}" for line in expected[begin:end])
        else:
            yield from (f"- {line}" for line in expected[begin:end])
            yield from (f"+ {line}" for line in happened[other_begin:other_end])


def _readable(line: str) -> str:
    seconds, _, rest = line.partition(" ")
    return f"{_clock(float(seconds))} {rest}"


def _clock(seconds: float) -> str:
    """Return seconds in all units that they need: `1h2m3s`."""
    hours, rest = divmod(seconds, _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    parts = [f"{hours:g}h" if hours else "", f"{minutes:g}m" if minutes else "", f"{rest:g}s" if rest else ""]
    return "".join(parts) or "0s"
