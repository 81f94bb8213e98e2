"""What a collector is."""

from abc import ABC, abstractmethod

from hostpulse.bus.fields import Fields

__all__ = ["Collector", "MissingError", "NoDataError"]


class NoDataError(Exception):
    """The machine has nothing to collect here. No fault: said once, then quiet until the next probe."""


class MissingError(NoDataError):
    """The machine may well have it, but something is missing that people can provide: it is said at the start, too."""


class Collector(ABC):
    """Samples one part of a machine. The constructor does nothing but keep what it is given.

    Attributes:
        name: what reports call it.
        subsystem: whose message its fields make.
        period_seconds: time from one reading to the next; None follows the user's interval.
        delay_seconds: time from the start to the first reading, for what can wait until others are there to take it.
        time_limit_seconds: a reading that takes longer is reported `stalled`.
        inline: whether it only reads files that the kernel makes up from memory. Those run in the main loop, where
            they cost least; all others in a worker, where a hang of hardware or of a network stops nothing else.
        worker: name of the thread that reads what is not inline; one that takes long has one of its own.
    """

    name: str
    subsystem: str
    period_seconds: float | None = None
    delay_seconds: float = 0.0
    time_limit_seconds: float = 5.0
    inline: bool = False
    worker: str = "collectors"

    def probe(self) -> bool:
        """Return whether the machine has what this collects. Called at the start, then every few minutes while not."""
        return True

    @abstractmethod
    def read(self) -> Fields:
        """Return what is so now.

        Raises:
            NoDataError: the machine has nothing of it any more.
            OSError: it could not be read this time.
        """
