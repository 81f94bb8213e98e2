"""One scenario: processes, the faults that befall them, and the account at its end."""

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol

from ..brokers import Broker
from ..cli.support import eventually
from .processes import Consumer, Hosts, Key, Ledger
from .report import Result

__all__ = ["Killable", "Scenario"]

_SETTLE_SECONDS = 240.0  # a question is asked 15 s after a gap was seen, again 45 s later; a lease lasts 60 s
_END_SECONDS = 20.0
_LOOK_SECONDS = 0.25


class Killable(Protocol):
    """What can be ended without a chance to save anything, and started again."""

    def start(self) -> None: ...

    def kill(self) -> None: ...


class Scenario:
    """Runs publishers and consumers, and finds out what became of the messages.

    Args:
        name: with what it runs on.
        seed: of what is left to chance.
        broker: is running.
        hosts: the publishers, not started.
        consumers: one, or all members of a group; not started.
        report: is given the account.
    """

    def __init__(
        self,
        name: str,
        seed: int,
        *,
        broker: Broker,
        hosts: Sequence[Hosts],
        consumers: Sequence[Consumer],
        report: Callable[[Result], None],
    ) -> None:
        self.broker = broker
        self.hosts = hosts
        self.consumer, *_ = self.consumers = consumers
        self.processes = (*hosts, *consumers)
        self._name = name
        self._seed = seed
        self._random = Random(f"{seed} {name}")  # noqa: S311  no secret; a seed has to give the same each time
        self._report = report
        self._faults = 0

    def start(self) -> None:
        """Start everything, and wait until the consumer knows each host: what came before is nobody's loss."""
        for consumer in self.consumers:  # the first one makes the bucket
            consumer.program.start()
            self.says(consumer, "connected to broker")
        for group in self.hosts:
            group.program.start()
        self.warm()

    def warm(self) -> None:
        """Wait until something of every host is stored, and all that was made until then."""
        names = set().union(*(group.names for group in self.hosts))
        eventually(lambda: {host for host, *_ in self.stored()} == names, what=lambda: self.consumer.output[-2000:])
        made = self.ledger().made
        eventually(lambda: made <= self.stored(), what=lambda: self.consumer.output[-2000:])

    def says(self, process: Hosts | Consumer, text: str, *, times: int = 1, seconds: float = 60.0) -> float:
        """Wait until a process has said something; return how many seconds that took."""
        begin = time.monotonic()
        eventually(lambda: process.output.count(text) >= times, seconds=seconds, what=lambda: process.output[-2000:])
        return time.monotonic() - begin

    def fault(self, *actions: Callable[[], object]) -> None:
        """Inject one."""
        self._faults += 1
        for action in actions:
            action()

    def run_for(self, seconds: float) -> None:
        """Let everything go on; a length of time is what is to pass here, so there is no event to wait for."""
        time.sleep(seconds)

    def kill_at_random(self, seconds: float, **others: Killable) -> None:
        """Kill hosts, consumers, broker and others at random moments; start them again after random times.

        At the end all run.
        """
        hosts = {group.name: group.program for group in self.hosts}
        consumers = {consumer.name: consumer.program for consumer in self.consumers}
        victims: dict[str, Killable] = {**hosts, **consumers, "broker": self.broker, **others}
        end = time.monotonic() + seconds
        down: list[tuple[float, str]] = []
        while (now := time.monotonic()) < end:
            while down and down[0][0] <= now:
                victims[heapq.heappop(down)[1]].start()
            up = sorted(victims.keys() - {name for _, name in down})
            if up:
                name = self._random.choice(up)
                self.fault(victims[name].kill)
                heapq.heappush(down, (time.monotonic() + self._random.uniform(0, 2), name))
            self.run_for(self._random.uniform(0.1, 1.2))
        for _, name in down:
            victims[name].start()

    def at_random(self, seconds: float, *faults: Callable[[], object]) -> None:
        """Inject one or the other at random moments."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.fault(self._random.choice(faults))
            self.run_for(self._random.uniform(0.1, 1.2))

    def ledger(self) -> Ledger:
        ledgers = [group.ledger() for group in self.hosts]
        return Ledger(set().union(*(one.made for one in ledgers)), set().union(*(one.waiting for one in ledgers)))

    def stored(self) -> set[Key]:
        return self.consumer.stored(time.time())

    def finish(self) -> Result:
        """Wait until everything is stored, end all processes, and draw up the account: nothing may be missing."""
        result = self._settle()
        self._report(result)
        for process in self.processes:
            assert "Traceback" not in process.output, process.output
        assert result.missing == 0, result
        return result

    def _settle(self) -> Result:
        begin = time.monotonic()
        made = self.ledger().made
        self._until_stored(made, _SETTLE_SECONDS)
        recovery = time.monotonic() - begin
        for group in self.hosts:
            group.program.stop()
        ledger = self.ledger()
        self._until_stored(ledger.made - ledger.waiting, _END_SECONDS)
        for consumer in self.consumers:
            consumer.program.stop()
        stored = self.stored()
        return Result(
            self._name,
            self._seed,
            self._faults,
            len(ledger.made | stored),
            len(ledger.made - stored - ledger.waiting) + _holes(ledger.made | stored),
            len(ledger.waiting - stored),
            sum(consumer.taken for consumer in self.consumers) - len(stored),
            sum(consumer.asked for consumer in self.consumers),
            recovery,
        )

    def _until_stored(self, expected: set[Key], seconds: float) -> None:
        """Wait until all of that is stored; what is still missing when the time is over is left to the account."""
        deadline = time.monotonic() + seconds
        while expected - self.stored() and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)


def _holes(keys: set[Key]) -> int:
    """Return how many numbers are left out, from 1 to the highest of each session.

    It sees what was never in an outbox, which is so while there is no room on the disk.
    """
    sessions: defaultdict[tuple[str, str, int], list[int]] = defaultdict(list)
    for key in keys:
        sessions[key[:3]].append(key.sequence)
    return sum(max(numbers) - len(numbers) for numbers in sessions.values())
