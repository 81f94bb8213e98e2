"""The connection to a broker without either: messages are handed over, and time passes."""

import threading
from typing import Any, Protocol

from hostpulse.bus.mqtt import MqttOptions, Publication, Session

__all__ = ["Air", "World"]

_ROOM = 40
_PATIENCE_SECONDS = 60.0  # real ones, for a collector


class World(Protocol):
    """What is around a publisher."""

    @property
    def second(self) -> float:
        """Time by a clock that nobody sets."""
        ...

    @property
    def online(self) -> bool:
        """Whether there is a network now."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a collector is at work, or has something to be taken."""
        ...

    @property
    def at_work(self) -> bool:
        """Whether a collector is at work."""
        ...

    def given_up_since(self, second: float) -> bool:
        """Return whether the broker has taken the publisher for gone since a moment."""
        ...

    def arrive(self, publication: Publication) -> None:
        """Let the broker have a message."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""


class Air(Session):
    """The way to the broker, and the time that passes on it. What it does not deliver, it does at the next connection.

    A network that is gone is noticed after two keepalives of silence, as by the connection that it stands for.
    """

    def __init__(self, world: World, options: MqttOptions, **words: Any) -> None:
        super().__init__(options, **words)
        self._world = world
        self._up = False
        self._count = 0
        self._number = 0
        self._heard = self._since = 0.0
        self._out: dict[int, Publication | None] = {}  # None: delivered, and not acknowledged
        self._woken = threading.Event()

    def open(self) -> None:
        pass

    @property
    def connected(self) -> bool:
        return self._up

    @property
    def connections(self) -> int:
        return self._count

    @property
    def trouble(self) -> str | None:
        return None if self._up else "the network is away"

    @property
    def room(self) -> int:
        return max(0, _ROOM - len(self._out)) if self._up else 0

    def publish(self, publication: Publication) -> int:
        self._number += 1
        self._out[self._number] = publication
        if self._world.online and not self._world.given_up_since(self._since):
            self._deliver(self._number)
        return self._number

    def _deliver(self, number: int) -> None:
        publication = self._out[number]
        if publication is not None:
            self._world.arrive(publication)
            self._out[number] = None

    def service(self) -> None:
        now = self._world.second
        if not self._world.online:
            self._up = self._up and now - self._heard < 2 * self._options.keepalive_seconds
            return
        self._heard = now
        is_new = not self._up or self._world.given_up_since(self._since)
        if is_new:
            self._up = True
            self._count += 1
            self._since = now
        for number in list(self._out):
            self._deliver(number)
        self._acknowledge()
        if is_new:
            for publication in self._greeting():
                self.publish(publication)

    def _acknowledge(self) -> None:
        for number in [number for number, publication in self._out.items() if publication is None]:
            del self._out[number]
            if self._on_acknowledged is not None:
                self._on_acknowledged(number)

    def wait(self, seconds: float, *, for_network: bool = True) -> None:
        if self._world.busy:
            self._wait_for_collectors()
        elif not (for_network and self._up and None in self._out.values()):  # else the acknowledgements are there
            self._world.wait(seconds)

    def _wait_for_collectors(self) -> None:
        while self._world.at_work:
            if not self._woken.wait(_PATIENCE_SECONDS):
                raise TimeoutError("a collector has not come back")
            self._woken.clear()

    def wake(self) -> None:
        self._woken.set()

    def close(self, *, seconds: float) -> None:
        del seconds
        self.service()
        if self._up and self._world.online:
            for publication in self._farewell:
                self.publish(publication)
            self._acknowledge()
