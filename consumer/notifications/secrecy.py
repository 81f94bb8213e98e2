"""Keeping what is in an address out of what is said about it."""

import logging
import re
from urllib.parse import unquote, urlsplit

__all__ = ["Mask", "hush_libraries"]

_BETWEEN = re.compile(r"[:/?&=@,;#\s]+")
_SHORTEST = 3
_LONGEST_REASON = 300
_HIDDEN = "***"


def hush_libraries() -> None:
    """Keep what libraries log for developers out of our log: they write down the addresses that they talk to."""
    logging.getLogger("apprise").propagate = False
    logging.getLogger("urllib3").setLevel(logging.INFO)


class Mask:
    """Hides the parts of addresses in text: names, passwords, tokens, paths.

    Args:
        secrets: addresses and keys.
        shown: what of them people may see, such as the name of a server.
    """

    def __init__(self, *secrets: str, shown: str = "") -> None:
        visible = {*_parts(shown), *(urlsplit(secret).scheme for secret in secrets if "://" in secret)}
        hidden = {part for secret in secrets for part in (secret, *_parts(secret))} - visible
        # The longest first, for one may be in another.
        words = sorted((part for part in hidden if len(part) >= _SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words)) if words else None

    def __call__(self, text: str) -> str:
        """Return the text as one short line without them."""
        line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
        return (self._pattern.sub(_HIDDEN, line) if self._pattern else line)[:_LONGEST_REASON]


def _parts(address: str) -> list[str]:
    return [part for text in (address, unquote(address)) for part in _BETWEEN.split(text) if part]
