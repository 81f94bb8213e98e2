"""What the engine gives back: what happened to alerts, and how they are now."""

from enum import StrEnum

from msgspec import Struct

__all__ = ["Alert", "Kind", "Transition", "instance_path"]


class Kind(StrEnum):
    """What happened to an alert."""

    FIRED = "fired"  # from ok to a level
    ESCALATED = "escalated"  # from warning to critical
    EASED = "eased"  # from critical to warning
    RESOLVED = "resolved"  # back to ok
    REPEATED = "repeated"  # still so; time to say it again
    ANNOUNCED = "announced"  # still so; what kept it quiet has ended, so it is told now
    NO_DATA = "no_data"  # values have stopped coming, the level stays
    ACKNOWLEDGED = "acknowledged"  # somebody knows


class Transition(Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened to one alert: all that a notification, a stored row and an MQTT event need.

    Attributes:
        host: name of the machine, not escaped.
        rule: name of the rule.
        labels: which one of several of a kind: `{"mount": "/"}`; empty where a host has one only.
        kind: what happened.
        before: level before: `ok`, `warning` or `critical`.
        level: level now.
        metric: what the rule is about: `disk_mount.used_percent`.
        unit: of the value and the limit; empty for text and plain numbers.
        value: what was judged, reduced over the window; None where it is not known or without end.
        limit: what it was compared with.
        summary: a sentence for people.
        moment: seconds since the epoch: of the sample, or of the clock where only that saw it.
        since: seconds since the epoch, from which on the alert is at a level at all.
        flapping: whether it fired three times or more within an hour.
        told: whether people are to be notified.
        why: why they are not; empty where they are.
    """

    host: str
    rule: str
    labels: dict[str, str]
    kind: Kind
    before: str
    level: str
    metric: str
    unit: str
    value: float | str | None
    limit: float | str | None
    summary: str
    moment: float
    since: float
    flapping: bool
    told: bool
    why: str = ""

    @property
    def instance(self) -> str:
        """Return the identity of the alert as one text: `web-1/disk_full/mount=/`."""
        return instance_path(self.host, self.rule, self.labels)

    @property
    def id(self) -> str:
        """Return what is the same when the same thing is told again: alert, moment and kind."""
        return f"{self.instance}@{self.moment:.3f}:{self.kind}"


class Alert(Struct, frozen=True, kw_only=True, gc=False):
    """An alert that is not ok now.

    Attributes:
        host: name of the machine, not escaped.
        rule: name of the rule.
        labels: which one of several of a kind.
        level: `warning` or `critical`.
        metric: what the rule is about.
        unit: of the value and the limit.
        value: what was judged last.
        limit: what it was compared with.
        summary: a sentence for people.
        since: seconds since the epoch, from which on it is at a level at all.
        told: the level that people were told, `ok` if they were told nothing.
        acknowledged: whether somebody knows.
        stale: whether values have stopped coming.
        quiet: why nobody is told now; empty where nothing keeps it quiet.
    """

    host: str
    rule: str
    labels: dict[str, str]
    level: str
    metric: str
    unit: str
    value: float | str | None
    limit: float | str | None
    summary: str
    since: float
    told: str
    acknowledged: bool
    stale: bool
    quiet: str

    @property
    def instance(self) -> str:
        """Return the identity of the alert as one text: `web-1/disk_full/mount=/`."""
        return instance_path(self.host, self.rule, self.labels)


def instance_path(host: str, rule: str, labels: dict[str, str]) -> str:
    """Return the identity of an alert as one text: `web-1/disk_full/mount=/`."""
    return "/".join([host, rule, *(f"{name}={value}" for name, value in labels.items())])
