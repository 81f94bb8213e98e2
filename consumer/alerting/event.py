"""A transition as the message of the subsystem `event` says it."""

from msgspec import UNSET

from hostpulse.bus.fields import LONGEST_TEXT, Float, Text
from hostpulse.bus.messages import Event

from ..alerts import Transition

__all__ = ["event_of"]

_CUT = "…"
# A mount point may have any, and InfluxDB has no way to hold them: the event of an alert is not to be lost for that.
_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "\ufffd")
_MILLISECONDS = 3  # digits


def event_of(transition: Transition, *, timestamp: float) -> Event:
    """Return the fields of the message about a transition.

    What a transition does not say is absent. A text that is longer than a message may have is cut, and a control
    character in it becomes the mark of one that is unknown.

    Args:
        transition: what happened.
        timestamp: seconds since the epoch by the consumer's clock: that of the message.
    """
    value, value_text = _number_or_text(transition.value)
    limit, limit_text = _number_or_text(transition.limit)
    return Event(
        event_id=_text(transition.id),
        rule=_text(transition.rule),
        labels=_text(", ".join(f"{name}={key}" for name, key in transition.labels.items())),
        kind=_text(transition.kind),
        before=_text(transition.before),
        level=_text(transition.level),
        metric=_text(transition.metric),
        unit=_text(transition.unit),
        value=value,
        value_text=value_text,
        limit=limit,
        limit_text=limit_text,
        summary=_text(transition.summary),
        duration_seconds=round(max(0.0, transition.moment - transition.since), _MILLISECONDS),
        delay_seconds=round(timestamp - transition.moment, _MILLISECONDS),
        flapping=transition.flapping,
        told=transition.told,
        why=_text(transition.why),
    )


def _text(text: str) -> Text:
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - len(_CUT)] + _CUT
    return text.translate(_CONTROL) or UNSET


def _number_or_text(value: float | str | None) -> tuple[Float, Text]:
    if value is None:
        return UNSET, UNSET
    return (UNSET, _text(value)) if isinstance(value, str) else (value, UNSET)
