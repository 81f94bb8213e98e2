"""The model of the routes of notifications: `alerts.notify`, a table for each route by its name."""

from typing import Annotated, Literal

from pydantic import Field

from hostpulse.bus.times import parse_duration

from .kinds import Addresses, List, Pattern, PerHour, Secret, SecretHttpAddress, Tag, UserPath, Wait
from .section import Section

__all__ = ["Route"]


class Route(Section):
    """A route of notifications; set `apprise` or `webhook`. NAME is of small letters, digits and single underscores."""

    apprise: Annotated[Addresses, List] = Field(
        default=(),
        description="URLs of services that Apprise knows (e-mail, ntfy, Telegram, …), each of which gets everything.",
        examples=[["mailto://user:password@example.org?to=owner@example.org"]],
        json_schema_extra={"otherwise": "none"},
    )
    webhook: SecretHttpAddress | None = Field(
        default=None,
        description="Address that gets JSON by POST.",
        examples=["https://example.org/hostpulse"],
        json_schema_extra={"otherwise": "none"},
    )
    secret: Secret | None = Field(
        default=None,
        description="Key with which requests to the webhook are signed; better kept in a secret file.",
        examples=["the webhook's key"],
        json_schema_extra={"otherwise": "no signature"},
    )
    ca_file: UserPath | None = Field(
        default=None,
        description="Certificates (PEM) of the authorities that may vouch for the webhook, beside those of the system.",
        examples=["/etc/hostpulse/ca.pem"],
        json_schema_extra={"otherwise": "those of the system"},
    )
    level: Literal["warning", "critical"] = Field(
        default="warning",
        description="Least level that is told; that an alert has ended is told where its beginning was.",
    )
    hosts: Annotated[tuple[Pattern, ...], List] = Field(
        default=(),
        description="Hosts that it is about; patterns with * and ?, one that begins with ! excludes.",
        examples=[["web-*", "!web-test"]],
        json_schema_extra={"otherwise": "all"},
    )
    rules: Annotated[tuple[Pattern, ...], List] = Field(
        default=(),
        description="Rules that it is about; patterns as above.",
        examples=[["disk_*"]],
        json_schema_extra={"otherwise": "all"},
    )
    tags: Annotated[tuple[Tag, ...], List] = Field(
        default=(),
        description="Takes only alerts of rules that name one of these tags in their `notify`.",
        examples=[["ops"]],
        json_schema_extra={"otherwise": "alerts of all rules"},
    )
    resolved: bool = Field(default=True, description="Whether the end of an alert is told, too.")
    group_wait: Wait = Field(
        default="10s", description="What happens within this time after the first goes out as one notification."
    )
    maximum_per_hour: PerHour = Field(
        default=30,
        description="Notifications in an hour, half of them at once; what comes on top of that goes out together.",
    )

    @property
    def group_wait_seconds(self) -> float:
        """How long the first of several waits for the others."""
        return parse_duration(self.group_wait)
