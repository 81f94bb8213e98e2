"""What people ask of the alerts, and what becomes of it: requests that commands leave in the journal."""

import secrets
from fnmatch import fnmatchcase

import msgspec
from msgspec import Struct

from hostpulse.bus.errors import MalformedError

from ..alerts import Engine, Patterns, Silence, Transition, UnknownAlertError
from ..alerts.metrics import hint
from ..alerts.selection import Globs

__all__ = [
    "Acknowledge",
    "Answer",
    "Forget",
    "Lift",
    "Request",
    "Silencing",
    "decode_answer",
    "decode_request",
    "encode_answer",
    "encode_request",
    "execute",
]


class Acknowledge(Struct, frozen=True, kw_only=True, tag="acknowledge"):
    """Stop the repeats of alerts until they get worse or end.

    Attributes:
        patterns: of instances, `web-1/disk_full/mount=/`; with `*` and `?`.
        comment: why, and who says so.
    """

    patterns: tuple[str, ...]
    comment: str = ""


class Silencing(Struct, frozen=True, kw_only=True, tag="silence"):
    """Keep alerts quiet for a while.

    Attributes:
        hosts: patterns; empty for all.
        rules: patterns; empty for all.
        labels: patterns by name of the label.
        seconds: for how long.
        comment: why, and who says so.
    """

    hosts: Patterns = ()
    rules: Patterns = ()
    labels: dict[str, Patterns] = {}
    seconds: float
    comment: str = ""


class Lift(Struct, frozen=True, kw_only=True, tag="lift"):
    """End a silence.

    Attributes:
        id: of the silence.
    """

    id: str


class Forget(Struct, frozen=True, kw_only=True, tag="forget"):
    """Forget a host that is gone for good.

    Attributes:
        host: name of the machine.
    """

    host: str


Request = Acknowledge | Silencing | Lift | Forget


class Answer(Struct, frozen=True, kw_only=True):
    """What became of a request.

    Attributes:
        done: a line for each thing that was done.
        trouble: why nothing was done; empty where something was.
    """

    done: tuple[str, ...] = ()
    trouble: str = ""


_REQUEST: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_ANSWER = msgspec.json.Decoder(Answer)


def encode_request(request: Request) -> bytes:
    """Return a request as the journal keeps it."""
    return msgspec.json.encode(request)


def decode_request(data: bytes) -> Request:
    """Return the request.

    Raises:
        MalformedError: it is none.
    """
    try:
        return _REQUEST.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedError(
            f"this consumer does not know such a request ({error}); is it too long, or of another version?"
        ) from None


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as the journal keeps it."""
    return msgspec.json.encode(answer)


def decode_answer(data: bytes) -> Answer:
    """Return the answer.

    Raises:
        MalformedError: it is none.
    """
    try:
        return _ANSWER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedError(
            f"the answer of the consumer cannot be read ({error}); is it of another version?"
        ) from None


def execute(request: Request, engine: Engine, now: float) -> tuple[Answer, list[Transition]]:
    """Do what is asked for.

    Args:
        request: what.
        engine: of the alerts.
        now: seconds since the epoch.

    Returns:
        The answer, and what happened to alerts.
    """
    if isinstance(request, Acknowledge):
        return _acknowledge(request, engine, now)
    if isinstance(request, Silencing):
        return _silence(request, engine, now), []
    if isinstance(request, Lift):
        try:
            engine.lift(request.id)
        except UnknownAlertError as error:
            return Answer(trouble=f"{error}; `hostpulse alerts list` shows those there are"), []
        return Answer(done=(request.id,)), []
    if not engine.knows(request.host):
        return Answer(trouble=f"no host {request.host!r} is known"), []
    return Answer(done=(request.host,)), engine.forget(request.host, now)


def _acknowledge(request: Acknowledge, engine: Engine, now: float) -> tuple[Answer, list[Transition]]:
    firing = engine.alerts()
    meant = {
        pattern: [alert for alert in firing if alert.instance == pattern or fnmatchcase(alert.instance, pattern)]
        for pattern in request.patterns
    }
    nothing = [pattern for pattern, found in meant.items() if not found]
    if nothing:  # all or nothing: a mistake in one pattern must not go unnoticed among the others
        near = hint(nothing[0], [alert.instance for alert in firing]) or "; `hostpulse alerts list` shows them"
        return Answer(trouble=f"no alert that is firing is {nothing[0]!r}{near}"), []
    chosen = {alert.instance: alert for found in meant.values() for alert in found}
    transitions = [
        engine.acknowledge(alert.host, alert.rule, alert.labels, now, comment=request.comment)
        for alert in chosen.values()
    ]
    return Answer(done=tuple(chosen)), transitions


def _silence(request: Silencing, engine: Engine, now: float) -> Answer:
    # A host may be one that is yet to come. Rules and labels are known, and a silence of none would keep nothing quiet.
    for pattern in request.rules:
        if not any(Globs((pattern,)).match(rule) for rule in engine.rules):
            return Answer(trouble=f"no rule is {pattern!r}{hint(pattern, engine.rules)}")
    for label in request.labels:
        if label not in engine.labels:
            return Answer(trouble=f"no alert has a label {label!r}{hint(label, engine.labels)}")
    silence = Silence(
        id=secrets.token_hex(4),
        hosts=request.hosts,
        rules=request.rules,
        labels=request.labels,
        until=now + request.seconds,
        comment=request.comment,
    )
    engine.silence(silence)
    return Answer(done=(silence.id,))
