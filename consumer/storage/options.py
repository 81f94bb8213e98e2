"""Where InfluxDB is and who we are to it."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from hostpulse.bus.errors import UsageError

__all__ = ["InfluxOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InfluxOptions:
    """How to reach a bucket.

    Attributes:
        url: of the server: `http://localhost:8086`.
        token: what it knows us by; never shown.
        org: name of the organisation.
        bucket: name of the bucket of raw rows; the minutes of each are in another one, `rollup_bucket`.
        ca_file: certificates to trust instead of the system's.
        timeout: seconds that an answer may take.

    Raises:
        UsageError: the address is none, or something is empty.
    """

    url: str
    token: str = field(repr=False)
    org: str
    bucket: str
    ca_file: str | None = None
    timeout: float = 30.0

    def __post_init__(self) -> None:
        for name in ("token", "org", "bucket"):
            if not getattr(self, name):
                raise UsageError(f"influxdb.{name} is empty; give one")
        if not self.token.isascii() or not self.token.isprintable():
            raise UsageError("influxdb.token has characters that no token has; copy it again")
        try:
            address = urlsplit(self.url)
            valid = address.scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise UsageError(f"influxdb.url {self.url!r} is no address; write for example http://localhost:8086")

    @property
    def rollup_bucket(self) -> str:
        """Name of the bucket of minutes."""
        return f"{self.bucket}_minutes"
