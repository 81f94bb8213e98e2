"""Line protocol: how text stands in a line, and what cannot stand in one.

    measurement,tag=value,tag=value field=1.5,field="text" 1770000000000

A comma, an equals sign and a space in a tag are escaped by a backslash, but a backslash itself has no escape: before
one of these, or at the end, it cannot be told from one that escapes. The server refuses the whole body of such a line.
"""

import re

from ..errors import UnstorableError
from .schema import RESERVED

__all__ = ["field_name", "tag_value", "text_value"]

_MAXIMUM_BYTES = 60_000  # the server's limit for all tags of a line together is 64 KiB
_AMBIGUOUS = re.compile(r"\\(?:[,= ]|$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TAG_ESCAPES = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_TEXT_ESCAPES = str.maketrans({'"': r"\"", "\\": r"\\"})


def tag_value(text: str) -> bytes:
    """Return text as it stands behind `tag=`.

    Raises:
        UnstorableError: the format has no way to say it.
    """
    if not text:
        raise UnstorableError("a tag cannot be empty in InfluxDB")
    if _AMBIGUOUS.search(text):
        raise UnstorableError(f"{_shown(text)} has a backslash before a comma, an equals sign, a space or its end")
    return _bytes(text, text.translate(_TAG_ESCAPES))


def text_value(text: str, *, maximum: int | None = _MAXIMUM_BYTES) -> bytes:
    """Return text as it stands behind `field=`, in its quotes.

    Args:
        text: any.
        maximum: bytes that it may have; None if it is bounded already.

    Raises:
        UnstorableError: it has control characters, is not Unicode or is too long.
    """
    return b'"%b"' % _bytes(text, text.translate(_TEXT_ESCAPES), maximum)


def field_name(name: str) -> bytes:
    """Return the name of a field, a tag or a measurement of ours, which needs no escapes.

    Raises:
        UnstorableError: it would need them, or has a meaning of its own to InfluxDB.
    """
    if name in RESERVED or not _NAME.fullmatch(name):
        raise UnstorableError(f"{_shown(name)} cannot be the name of a field or a tag in InfluxDB")
    return name.encode()


def _bytes(text: str, escaped: str, maximum: int | None = _MAXIMUM_BYTES) -> bytes:
    if _CONTROL.search(text):
        raise UnstorableError(f"{_shown(text)} has control characters")
    try:
        encoded = escaped.encode()
    except UnicodeEncodeError:
        raise UnstorableError(f"{_shown(text)} is not Unicode") from None
    if maximum is not None and len(encoded) > maximum:
        raise UnstorableError(f"{_shown(text)} has {len(encoded)} bytes, the limit is {maximum}")
    return encoded


def _shown(text: str) -> str:
    return ascii(text[:100])
