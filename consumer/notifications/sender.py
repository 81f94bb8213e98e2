"""What takes a notification to people, and how it fails."""

from typing import Protocol

from hostpulse.bus.errors import HostpulseError

from .notification import Notification

__all__ = ["DeliveryError", "Sender"]


class DeliveryError(HostpulseError):
    """A notification was not taken, or nobody knows whether it was.

    Args:
        reason: one line without secrets.
        is_lasting: whether the same will happen again until a person mends something.
        retry_after: seconds that the server asked to wait; None where it did not.
    """

    def __init__(self, reason: str, *, is_lasting: bool = False, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_lasting = is_lasting
        self.retry_after = retry_after


class Sender(Protocol):
    """Takes notifications to one service; of one thread."""

    def open(self) -> None:
        """Make ready, without asking the service.

        Raises:
            UsageError: it cannot work; the text continues a line that begins with the route's name.
        """
        ...

    def send(self, notification: Notification, now: float) -> None:
        """Hand it over; it was taken on return.

        Args:
            notification: what to say.
            now: seconds since the epoch.

        Raises:
            DeliveryError: it was not.
        """
        ...
