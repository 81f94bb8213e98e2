"""What the model finds wrong with a value, in our own words."""

from collections.abc import Mapping

from pydantic_core import ErrorDetails

from .errors import Problem
from .sources import Entry
from .text import in_error, nearest

__all__ = ["fault_key", "to_problem"]

_KINDS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_type": "must be a whole number",
    "path_type": "must be a path in quotes",
    "string_type": "must be text in quotes",
    "string_unicode": "must be UTF-8 text",
    "tuple_type": "must be a list",
}
_BOUNDS = {
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_long": "must be at most {max_length} characters long",
    "string_too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
}


def fault_key(fault: ErrorDetails, entries: Mapping[str, Entry]) -> str:
    """Return the key whose value is at fault."""
    location = [part for part in fault["loc"] if isinstance(part, str)]
    return next(name for end in range(len(location), 0, -1) if (name := ".".join(location[:end])) in entries)


def to_problem(fault: ErrorDetails, entry: Entry) -> Problem:
    """Say what is wrong with a value."""
    return Problem(entry.origin, f"{entry.key} {_words(fault, entry)}", entry.key)


def _words(fault: ErrorDetails, entry: Entry) -> str:
    kind, context, given = fault["type"], fault.get("ctx", {}), fault["input"]
    if kind == "value_error":
        # The words of `kinds` may show the value, which is right unless it came from a secret file.
        words = str(context["error"])
        return words if not entry.is_secret or not isinstance(given, str) else words.replace(in_error(given), "that")
    if kind == "literal_error":
        return _choice(str(context["expected"]), given, entry)
    if kind in _BOUNDS:
        words = _BOUNDS[kind].format(**context)
        return words if kind.startswith(("string_too_", "too_")) else words + _not(given, entry)
    return _KINDS.get(kind, f"cannot be used ({kind})") + _not(given, entry)


def _choice(expected: str, given: object, entry: Entry) -> str:
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    words = f"must be {', '.join(choices[:-1])} or {choices[-1]}" if len(choices) > 1 else f"must be {choices[0]}"
    meant = None if entry.is_secret else nearest(str(given), choices)
    return words + _not(given, entry) + (f"; did you mean {meant}?" if meant else "")


def _not(given: object, entry: Entry) -> str:
    return "" if entry.is_secret else f", not {in_error(given)}"
