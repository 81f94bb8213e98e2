"""The names of the topics, and the escape that makes any text a part of one.

<prefix>/<host>/status          retained   online | offline
<prefix>/<host>/info            retained   inventory
<prefix>/<host>/<subsystem>                samples
<prefix>/<host>/event                      what happens to alerts of the host, from a consumer
<prefix>/<host>/replay                     a consumer asks for missing messages; who sent them answers
<prefix>/<host>/check                      `hostpulse check` tries what its account may do
<prefix>/<host>/alert/<rule>/<instance>    retained   state of one alert
"""

import re
from functools import lru_cache
from typing import NamedTuple

from .errors import UsageError, WrongTopicError

__all__ = ["MAXIMUM_PART_LENGTH", "ONLY_INSTANCE", "AlertTopic", "HostTopic", "Topics", "escape", "unescape"]

MAXIMUM_PART_LENGTH = 255

ONLY_INSTANCE = "host"
"""Last part of the topic of an alert of which a host has one only."""

# A literal underscore is escaped only where it would read as an escape, so that common names stay as they are.
_UNSAFE = re.compile(rb"[^A-Za-z0-9_.-]|_(?=x[0-9A-F]{2})")
_ESCAPE = re.compile(rb"_x([0-9A-F]{2})")
_PREFIX = re.compile(r"[^+#/\x00-\x1f\x7f]+(?:/[^+#/\x00-\x1f\x7f]+)*")


@lru_cache(maxsize=4096)
def escape(text: str) -> str:
    """Return the text in `[A-Za-z0-9_.-]`: any other byte of its UTF-8 becomes `_xHH`. `unescape` undoes it."""
    raw = text.encode("utf-8", "surrogatepass")  # surrogateescape would make one of "\udcc3\udca9" and "é"
    return _UNSAFE.sub(lambda found: b"_x%02X" % found[0][0], raw).decode("ascii")


def unescape(part: str) -> str:
    """Return what `escape` made the part from."""
    raw = _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), part.encode("utf-8", "surrogatepass"))
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # no work of ours
        return raw.decode("utf-8", "surrogateescape")


class HostTopic(NamedTuple):
    """A topic directly below a host: the host (escaped, as it stands in the topic) and the leaf."""

    host: str
    leaf: str


class AlertTopic(NamedTuple):
    """A topic of the state of one alert; all parts escaped, as they stand in the topic."""

    host: str
    rule: str
    instance: str


class Topics:
    """All topics below one prefix.

    Args:
        prefix: first part or parts of every topic; no wildcard, no empty part.

    Raises:
        UsageError: the prefix cannot be part of a topic.
    """

    def __init__(self, prefix: str = "hostpulse") -> None:
        if not _PREFIX.fullmatch(prefix) or prefix.startswith("$"):
            raise UsageError(
                f"mqtt.prefix {prefix!r} cannot begin a topic: it has +, #, a control character or an empty part"
            )
        self.prefix = prefix
        self._start = f"{prefix}/"

    def status(self, host: str) -> str:
        """Topic of a host's `online` or `offline` (retained, Last Will)."""
        return f"{self._start}{escape(host)}/status"

    def info(self, host: str) -> str:
        """Topic of a host's inventory (retained)."""
        return f"{self._start}{escape(host)}/info"

    def sample(self, host: str, subsystem: str) -> str:
        """Topic of the samples of one subsystem of a host."""
        return f"{self._start}{escape(host)}/{subsystem}"

    def replay(self, host: str) -> str:
        """Topic of what a host's publisher is asked to send again."""
        return f"{self._start}{escape(host)}/replay"

    def alert(self, host: str, rule: str, instance: str | None) -> str:
        """Topic of the state of one alert (retained).

        Args:
            host: name of the machine.
            rule: name of the rule.
            instance: which one of several of a kind, such as the mount point; None where a host has one only.
        """
        last = ONLY_INSTANCE if instance is None else escape(instance)
        return f"{self._start}{escape(host)}/alert/{escape(rule)}/{last}"

    def check(self, host: str) -> str:
        """Topic that means nothing to anybody, for trying what an account may do."""
        return f"{self._start}{escape(host)}/check"

    @property
    def all_hosts(self) -> str:
        """Filter of everything directly below any host: samples, status, info, events."""
        return f"{self._start}+/+"

    @property
    def all_alerts(self) -> str:
        """Filter of the state of every alert."""
        return f"{self._start}+/alert/+/+"

    @property
    def all_replays(self) -> str:
        """Filter of what any host is asked to send again."""
        return f"{self._start}+/replay"

    def shared(self, group: str) -> list[str]:
        """Filters of a member of a group that shares the samples of all hosts.

        Retained messages never come through a shared subscription, so what hosts say about themselves comes to every
        member.
        """
        return [f"$share/{group}/{self.all_hosts}", f"{self._start}+/status", f"{self._start}+/info"]

    @property
    def everything(self) -> str:
        """Filter of every topic below the prefix."""
        return f"{self._start}#"

    def parse(self, topic: str) -> HostTopic:
        """Split a topic directly below a host.

        Raises:
            WrongTopicError: it lies elsewhere, or a part is empty or too long.
        """
        parts = topic[len(self._start) :].split("/") if topic.startswith(self._start) else ()
        if len(parts) != len(HostTopic._fields) or not all(0 < len(part) <= MAXIMUM_PART_LENGTH for part in parts):
            raise WrongTopicError(f"{topic[:200]!r} is not {self.prefix}/<host>/<subsystem>")
        return HostTopic(*parts)

    def parse_alert(self, topic: str) -> AlertTopic:
        """Split the topic of the state of an alert.

        Raises:
            WrongTopicError: it is another one.
        """
        match topic[len(self._start) :].split("/") if topic.startswith(self._start) else ():
            case [host, "alert", rule, instance]:
                return AlertTopic(host, rule, instance)
            case _:
                raise WrongTopicError(f"{topic[:200]!r} is not {self.prefix}/<host>/alert/<rule>/<instance>")
