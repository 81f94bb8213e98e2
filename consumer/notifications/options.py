"""What a route is told: where to, and what of."""

from typing import Literal

from msgspec import Struct

__all__ = ["RouteOptions"]


class RouteOptions(Struct, frozen=True, kw_only=True):
    """One route. It has either `apprise` or `webhook`.

    Attributes:
        name: of the route; its place in the journal goes by it.
        apprise: URLs of Apprise; they hold passwords.
        webhook: address that gets a POST; it may hold a token.
        secret: key of the signatures of the webhook; None for none.
        ca_file: authorities to trust for the webhook instead of the system's.
        level: least level that is told.
        hosts: patterns of the hosts that it is about; empty for all.
        rules: patterns of the rules that it is about; empty for all.
        tags: takes only alerts of rules that have one of these; empty for all.
        resolved: whether the end of an alert is told to whom its beginning was.
        group_wait_seconds: what happens within this time goes out together.
        maximum_per_hour: how many notifications go out in an hour.
    """

    name: str
    apprise: tuple[str, ...] = ()
    webhook: str | None = None
    secret: str | None = None
    ca_file: str | None = None
    level: Literal["warning", "critical"] = "warning"
    hosts: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    resolved: bool = True
    group_wait_seconds: float = 10.0
    maximum_per_hour: int = 30

    def __repr__(self) -> str:
        return f"RouteOptions({self.name!r})"  # never an address or a key
