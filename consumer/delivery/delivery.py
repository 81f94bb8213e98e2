"""The consumer's account of what comes: the parts put together."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from hostpulse.bus.codec import Envelope
from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.bus.replay import ReplayRequest, encode_replay_request
from hostpulse.bus.topics import Topics

from ..storage import Reader, StorageError
from .account import AccountFile
from .history import History
from .repairer import PATIENCE, Patience, Repairer
from .report import Reporter
from .tracker import Tracker

__all__ = ["Delivery", "Group", "Lease"]

_log = logging.getLogger(__name__)

_BASE = timedelta(days=1)  # hosts that were silent for longer are met like strangers
_LONGEST_SCAN = timedelta(hours=1)
_OVERLAP = timedelta(minutes=2)
_SCAN_SECONDS = 30.0
_MOST_TOLD = 10_000  # hosts; a name that is made up must not fill our memory,
_MOST_STARTS = 16  # nor starts that are: a publisher tells of no more
_NEWEST = 16  # samples at the end of a batch; among them may be old ones that come late


class Lease(Protocol):
    """A right that one of several has at a time, about."""

    def hold(self) -> bool:
        """Return whether we have it, and try to get or to keep it.

        Raises:
            StorageError: that is not known.
        """
        ...

    def close(self) -> None:
        """Let go of what it needs; may be called twice."""
        ...


class Group:
    """What there is to know of consumers that share the storing: none of them sees everything.

    Args:
        lease: of the one that looks for what all of them have missed.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease


class Delivery:
    """Keeps account of the messages that are stored, asks for what is missing and tells what is lost.

    Nothing here keeps messages from being stored. For the thread of the receiver.

    Args:
        topics: the prefix.
        publish: sends a message; returns whether it was sent.
        make_reader: returns a reader of the store, not open.
        directory: where the account is kept.
        group: the consumers that share the storing with us; None where there is but one.
        wall: seconds since the epoch.
        clock: monotonic seconds.
        patience: how long things may take.
    """

    def __init__(
        self,
        topics: Topics,
        publish: Callable[[str, bytes], bool],
        make_reader: Callable[[], Reader],
        directory: Path,
        *,
        group: Group | None = None,
        wall: Callable[[], float],
        clock: Callable[[], float],
        patience: Patience = PATIENCE,
    ) -> None:
        self._topics = topics
        self._publish = publish
        self._group = group
        self._clock = clock
        self._seconds = wall
        self._tracker = Tracker()
        self._history = History(make_reader, self._tracker, wall=self._wall)
        self._account = AccountFile(directory, self._tracker, wall=self._wall, clock=clock)
        self._repairer = Repairer(
            self._tracker,
            ask=self._ask,
            verify=self._history.note_gap,
            report=Reporter(clock),
            certain=group is None,
            clock=clock,
            wall=self._wall,
            patience=patience,
        )
        self._told: dict[str, Mapping[datetime, Mapping[str, int]]] = {}
        self._begun = False
        self._ignorant = False  # whether the history could not be read at the begin
        self._leads = False
        self._scanned: datetime | None = None
        self._next_scan = 0.0

    def _wall(self) -> datetime:
        return datetime.fromtimestamp(self._seconds(), UTC)

    @property
    def keeps_account(self) -> bool:
        """Whether we know what is missing: of several that share the storing, one does."""
        return self._leads

    @property
    def missing_messages(self) -> int:
        """How many are missing now."""
        return self._repairer.missing

    @property
    def asked_messages(self) -> int:
        """How many were asked for."""
        return self._repairer.asked

    @property
    def recovered_messages(self) -> int:
        """How many came after they had been asked for."""
        return self._tracker.recovered

    @property
    def lost_messages(self) -> int:
        """How many were given up."""
        return self._repairer.lost + self._tracker.forgotten

    def begin(self) -> None:
        """Learn what is stored, before more is; does nothing when that is done."""
        if self._begun or self._group is not None:
            return
        self._begun = True
        with self._history.silent():  # what keeps it from being read may keep us from storing, which says so itself
            self._ignorant = not self._learn()

    def stored(self, envelopes: Sequence[Envelope]) -> None:
        """Note whose samples were stored, one at least."""
        if self._group is None:
            if self._ignorant:
                self._ignorant = False
                self._learn()
            self._tracker.add(envelopes)
            self._account.reached = max(envelope.timestamp for envelope in envelopes[-_NEWEST:])

    def heard(self, host: str, *, online: bool) -> None:
        """Note what the status of a host says."""
        self._repairer.heard(host, online=online)

    def told(self, host: str, sessions: Mapping[datetime, Mapping[str, int]]) -> None:
        """Note what the publisher of a host has of its earlier starts: the last sequence of each subsystem.

        A member of a group keeps it until it has looked into the history: before that it knows nothing of the host,
        and the account may become its own at any time.
        """
        if self._group is None:
            self._expect(host, sessions)
        elif sessions and (host in self._told or len(self._told) < _MOST_TOLD):  # a status tells of none
            self._told[host] = {
                session: {name: last for name, last in sessions[session].items() if name in SUBSYSTEMS}
                for session in sorted(sessions)[-_MOST_STARTS:]
            }

    def _expect(self, host: str, sessions: Mapping[datetime, Mapping[str, int]]) -> None:
        for session, last in sessions.items():
            self._tracker.expect(host, session, last)

    def idle(self) -> None:
        """Ask for what is due, and keep the account."""
        self._leads = self._begun if self._group is None else self._lead(self._group)
        if not self._leads:
            return
        losses = self._repairer.round()
        self._account.lose(losses)
        self._account.save_if_due()

    def close(self) -> None:
        """Write the account, and let go of the store."""
        if self._leads:
            self._account.save()
        self._history.close()
        if self._group is not None:
            try:
                self._group.lease.close()
            except StorageError as error:  # it runs out by itself
                self._history.complain(error)

    def _lead(self, group: Group) -> bool:
        """Return whether it is ours to look for what the group has missed, and look."""
        try:
            if not group.lease.hold():
                return False
        except StorageError as error:
            self._history.complain(error)
            return False
        now = self._wall()
        if self._scanned is None:
            self._begun = True
            if not self._learn():
                return False
            self._scanned, self._next_scan = now, self._clock() + _SCAN_SECONDS
            self._expect_told()
        elif self._clock() >= self._next_scan:
            self._next_scan = self._clock() + _SCAN_SECONDS
            if self._history.note_since(max(self._scanned, now - _LONGEST_SCAN) - _OVERLAP):
                self._scanned = now
                self._expect_told()
        return True

    def _expect_told(self) -> None:
        """Compare what publishers told with what is known of them now; of others it is kept."""
        for host in [host for host in self._told if self._tracker.known(host)]:
            self._expect(host, self._told.pop(host))

    def _learn(self) -> bool:
        """Take over the account of an earlier life, and note what the history has since; return whether it could."""
        now = self._wall()
        known = self._account.load()
        # What was stored after the account was written is in the history. A consumer that was away for long finds
        # nothing newer there; one that never wrote an account looks back a little.
        if self._group is not None:
            since = max(known or now - _LONGEST_SCAN, now - _LONGEST_SCAN)
        else:
            since = max(known or now, now - _BASE)
        since -= _OVERLAP
        learned = self._history.note_since(since) and self._history.note_last(now - _BASE)
        self._account.set_aside()
        return learned

    def _ask(self, host: str, request: ReplayRequest) -> bool:
        asked = self._publish(self._topics.replay(host), encode_replay_request(request))
        if asked:
            _log.debug("asked for %d messages of %r: %r", request.last - request.first + 1, host, request)
        return asked
