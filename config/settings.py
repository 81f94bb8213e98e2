"""The model of all settings: the single source of their keys, types, bounds, defaults and documentation.

Constructing `Settings` reads no environment and no file; `load` does, and checks what one field alone cannot know.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hostpulse.bus.sizes import parse_size
from hostpulse.bus.times import parse_duration

from .kinds import (
    ClientId,
    Duration,
    Group,
    HostName,
    HttpAddress,
    Limit,
    List,
    LogLevelText,
    Name,
    NetworkHost,
    NotBool,
    NumberAsText,
    Pattern,
    Port,
    Prefix,
    Secret,
    Size,
    Subsystem,
    Sync,
    Token,
    UserPath,
)
from .routes import Route
from .section import Section

__all__ = ["Alerts", "Broker", "Collect", "InfluxDB", "Mqtt", "Outbox", "Roots", "Settings", "Store"]

_MQTT_PORT = 1883
_MQTT_TLS_PORT = 8883

# What df does not count as storage: the kernel's own trees and memory; images that are full by nature; and layers of
# containers, which repeat the file system below them.
_NOT_STORAGE = (
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fuse.snapfuse",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "erofs",
    "iso9660",
    "squashfs",
    "aufs",
    "overlay",
)
# What containers mount for themselves, and the parts of macOS's system volume.
_NOT_OWN_MOUNTS = (
    "/snap/*",
    "/run/credentials/*",
    "/var/lib/docker/*",
    "/var/lib/containers/storage/*",
    "/var/lib/kubelet/pods/*",
    "/private/var/vm",
    "/System/Volumes/[!D]*",
)


def _short_hostname() -> str:
    return socket.gethostname().partition(".")[0] or "localhost"


def _data_dir() -> Path:
    return Path(platformdirs.user_data_dir("hostpulse", appauthor=False))


class Mqtt(Section):
    """The broker to talk to, and how."""

    host: NetworkHost | None = Field(
        default=None,
        description="Name or address of the broker.",
        examples=["mqtt.example.org"],
        json_schema_extra={"otherwise": "the embedded broker of `hostpulse up`"},
    )
    port: Port | None = Field(
        default=None,
        description="TCP port of the broker.",
        examples=[_MQTT_PORT],
        json_schema_extra={"otherwise": f"{_MQTT_PORT}, or {_MQTT_TLS_PORT} with TLS"},
    )
    username: Name | None = Field(
        default=None,
        description="User name for the broker.",
        examples=["hostpulse"],
        json_schema_extra={"otherwise": "anonymous"},
    )
    password: Secret | None = Field(
        default=None,
        description="Password for the broker; better kept in a secret file than here.",
        examples=["the broker's password"],
        json_schema_extra={"otherwise": "none"},
    )
    client_id: ClientId | None = Field(
        default=None,
        description="Start of the MQTT client identifiers; must differ from machine to machine.",
        examples=["hostpulse-web-1"],
        json_schema_extra={"otherwise": "made from `host`"},
    )
    tls: bool = Field(default=False, description="Whether the connection is encrypted.")
    ca_file: UserPath | None = Field(
        default=None,
        description="Certificates (PEM) of the authorities that may vouch for the broker.",
        examples=["/etc/hostpulse/ca.pem"],
        json_schema_extra={"otherwise": "those of the system"},
    )
    cert_file: UserPath | None = Field(
        default=None,
        description="Own certificate (PEM) for a broker that asks for one; needs `key_file` too.",
        examples=["/etc/hostpulse/client.pem"],
        json_schema_extra={"otherwise": "none"},
    )
    key_file: UserPath | None = Field(
        default=None,
        description="Private key (PEM) of `cert_file`.",
        examples=["/etc/hostpulse/client.key"],
        json_schema_extra={"otherwise": "none"},
    )
    protocol: Annotated[Literal["3.1.1", "5"], NumberAsText] = Field(
        default="3.1.1", description="Version of MQTT to speak."
    )
    prefix: Prefix = Field(default="hostpulse", description="First part of every topic.")
    share: Group | None = Field(
        default=None,
        description=(
            "Name of a group of consumers that share the storing between them; they need a broker with shared "
            "subscriptions, InfluxDB and, on one machine, the same `data_dir`."
        ),
        examples=["store"],
        json_schema_extra={"otherwise": "the consumer stores everything"},
    )

    @property
    def effective_port(self) -> int:
        """The port to connect to: the one that was set, or the usual one."""
        return self.port or (_MQTT_TLS_PORT if self.tls else _MQTT_PORT)


class Broker(Section):
    """The embedded broker of `hostpulse up`."""

    port: Port = Field(default=18_830, description="TCP port of the embedded broker, on the loopback interface.")


class Outbox(Section):
    """What the publisher keeps on disk: messages that the broker does not have yet, and those it had for a while."""

    size: Size = Field(default="256 MiB", description="What the files of the outbox may hold; the oldest go first.")
    age: Duration = Field(default="7d", description="How long a message is kept, sent or not.")
    sync: Sync = Field(
        default="never",
        description="How often what was written is forced to the disk. Without it a loss of power costs about the last "
        "half minute, a crash of the publisher nothing.",
    )

    @property
    def size_bytes(self) -> int:
        """What the files of the outbox may hold."""
        return parse_size(self.size)

    @property
    def age_seconds(self) -> float:
        """How long a message is kept."""
        return parse_duration(self.age)

    @property
    def sync_seconds(self) -> float | None:
        """Time between two times that what was written is forced to the disk; 0 each time, None never."""
        if self.sync == "never":
            return None
        return 0.0 if self.sync == "always" else parse_duration(self.sync)


class Store(Section):
    """Where history is kept, and for how long."""

    kind: Literal["embedded", "influxdb"] = Field(
        default="embedded", description="Where history is kept: in a file in `data_dir`, or in InfluxDB."
    )
    retention: Duration = Field(default="30d", description="How long every sample is kept.")
    rollup_retention: Duration = Field(default="2y", description="How long the means of each minute are kept.")
    maximum_hosts: Limit = Field(
        default=1000,
        description="Hosts that are stored. What comes from further ones is counted, and a few of it are kept as dead "
        "letters. Hosts that have samples in the store already always count.",
    )
    maximum_entries: Limit = Field(
        default=1000,
        description="New entries (mounts, interfaces, …) that one host may bring in a day, for each of its maps; more "
        "are left out.",
    )

    @property
    def retention_seconds(self) -> float:
        """How long every sample is kept."""
        return parse_duration(self.retention)

    @property
    def rollup_retention_seconds(self) -> float:
        """How long the means of each minute are kept."""
        return parse_duration(self.rollup_retention)


class InfluxDB(Section):
    """The InfluxDB server, 2 or 3, of `store.kind = "influxdb"`."""

    url: HttpAddress = Field(default="http://127.0.0.1:8086", description="Address of the server.")
    token: Token | None = Field(
        default=None,
        description="Token that may write or read the bucket; better kept in a secret file.",
        examples=["the token"],
        json_schema_extra={"otherwise": "none"},
    )
    org: Name | None = Field(
        default=None,
        description="Organisation; of no meaning to InfluxDB 3.",
        examples=["home"],
        json_schema_extra={"otherwise": "none"},
    )
    bucket: Name = Field(
        default="hostpulse",
        description="Bucket of every sample, in InfluxDB 3 the database; the means of each minute go to "
        "`<bucket>_minutes`.",
    )


class Alerts(Section):
    """What is told to people when something is wrong."""

    rules: UserPath | None = Field(
        default=None,
        description="File of rules that change or add to the default ones, key by key; docs/alerts.md explains it.",
        examples=["/etc/hostpulse/alerts.toml"],
        json_schema_extra={"otherwise": "the default rules alone"},
    )
    notify: Mapping[str, Route] = Field(default_factory=dict, description="Routes of notifications by their names.")


class Roots(Section):
    """Where the machine's own trees are; in a container they are mounted elsewhere, such as /host/proc."""

    proc: UserPath = Field(default=Path("/proc"), description="The machine's /proc.")
    sys: UserPath = Field(default=Path("/sys"), description="The machine's /sys.")
    filesystem: UserPath = Field(default=Path("/"), description="The machine's root directory.")


class Collect(Section):
    """What is measured."""

    disable: Annotated[tuple[Subsystem, ...], List] = Field(
        default=(), description="Subsystems that are not measured.", examples=[["battery"]]
    )
    ignore_interfaces: Annotated[tuple[Pattern, ...], List] = Field(
        default=("lo", "veth*"), description="Network interfaces to leave out; patterns with * and ?."
    )
    ignore_devices: Annotated[tuple[Pattern, ...], List] = Field(
        default=("loop*", "ram*", "sr*", "fd*", "zram*"),
        description="Block devices to leave out; patterns with * and ?.",
    )
    ignore_file_systems: Annotated[tuple[Pattern, ...], List] = Field(
        default=_NOT_STORAGE, description="Types of file systems to leave out, because they are not storage."
    )
    ignore_mounts: Annotated[tuple[Pattern, ...], List] = Field(
        default=_NOT_OWN_MOUNTS, description="Mount points to leave out; patterns in which * also matches /."
    )


class Settings(BaseSettings):
    """All settings. Frozen; unknown keys are refused."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, case_sensitive=True)

    host: HostName = Field(
        default_factory=_short_hostname,
        description="Name under which this machine publishes.",
        examples=["web-1"],
        json_schema_extra={"otherwise": "the machine's name without its domain"},
    )
    interval: Annotated[float, Field(ge=0.5, le=3600, allow_inf_nan=False), NotBool] = Field(
        default=2.0, description="Seconds between two samples of what changes fast."
    )
    data_dir: UserPath = Field(
        default_factory=_data_dir,
        description="Directory of what hostpulse keeps: history, outbox, dead letters, the embedded broker's store.",
        examples=["/var/lib/hostpulse"],
        json_schema_extra={"otherwise": "the user's data directory, such as `~/.local/share/hostpulse`"},
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], LogLevelText] = Field(
        default="info", description="Least important messages that are logged."
    )
    heartbeat_file: UserPath | None = Field(
        default=None,
        description=(
            "File whose modification time `hostpulse publish` and `hostpulse consume` renew every 10 seconds while "
            "they do their work; for health checks."
        ),
        examples=["/run/hostpulse/heartbeat"],
        json_schema_extra={"otherwise": "none"},
    )
    mqtt: Mqtt = Field(default_factory=Mqtt)
    broker: Broker = Field(default_factory=Broker)
    outbox: Outbox = Field(default_factory=Outbox)
    store: Store = Field(default_factory=Store)
    influxdb: InfluxDB = Field(default_factory=InfluxDB)
    alerts: Alerts = Field(default_factory=Alerts)
    roots: Roots = Field(default_factory=Roots)
    collect: Collect = Field(default_factory=Collect)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the names are pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the caller only.

        The library's sources read the process's own environment, pass over mistyped variables and missing files in
        silence, and do not say where a value came from. Those of `sources` do; `load` hands over what they found.
        """
        return (init_settings,)
