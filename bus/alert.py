"""The state of one alert, as it stands retained on `<prefix>/<host>/alert/<rule>/<instance>`.

It is a copy for others: what happened is told by the events, and kept by the consumer that evaluates the alerts. An
alert that is over says `ok`; a topic that is cleared (an empty payload) is of an alert that nobody knows any more.
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = ["AlertState", "decode_alert_state", "encode_alert_state"]


class AlertState(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How an alert is."""

    v: Annotated[int, Meta(description="Version of this contract.")]
    host: Annotated[str, Meta(description="Name of the machine.")]
    rule: Annotated[str, Meta(description="Name of the rule.")]
    labels: Annotated[
        dict[str, str], Meta(description="Which one of several of a kind; absent where there is one.")
    ] = {}
    level: Annotated[str, Meta(description="`ok`, `warning` or `critical`.")]
    since: Annotated[str, Meta(description="From when on it is ok, or at a level at all; RFC 3339, UTC.")]
    summary: Annotated[str, Meta(description="A sentence for people.")]
    metric: Annotated[str, Meta(description="What the rule is about.")] | UnsetType = UNSET
    unit: Annotated[str, Meta(description="Of value and limit; absent for text and plain numbers.")] | UnsetType = UNSET
    value: Annotated[float | str, Meta(description="What was judged last.")] | UnsetType = UNSET
    limit: Annotated[float | str, Meta(description="What it was compared with.")] | UnsetType = UNSET
    acknowledged: Annotated[bool, Meta(description="Whether somebody knows.")] = False
    stale: Annotated[bool, Meta(description="Whether values have stopped coming.")] = False
    quiet: Annotated[str, Meta(description="Why nobody is told now; absent where people are.")] | UnsetType = UNSET


_STATE = msgspec.json.Decoder(AlertState)


def encode_alert_state(state: AlertState) -> bytes:
    """Return the payload."""
    return msgspec.json.encode(state)


def decode_alert_state(payload: bytes) -> AlertState | None:
    """Return the state in a payload; None where it is none of ours."""
    try:
        return _STATE.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
