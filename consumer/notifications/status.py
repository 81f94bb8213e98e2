"""How a delivery is doing, for people."""

from msgspec import Struct

__all__ = ["RouteStatus"]


class RouteStatus(Struct, frozen=True, kw_only=True):
    """How one delivery is doing.

    Attributes:
        name: of the route; with `#2` behind it for its second URL.
        waiting: what has happened and is not told yet; as of the last look.
        sent: notifications that were taken, since the start.
        failed: attempts that were not, since the start.
        failing_since: seconds since the epoch; None where the last attempt went well or there was none.
        reason: why it fails, without secrets; empty where it does not.
    """

    name: str
    waiting: int
    sent: int
    failed: int
    failing_since: float | None
    reason: str
