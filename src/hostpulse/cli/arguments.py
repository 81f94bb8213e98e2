"""What the commands share: their common options, the settings, and the options of the two services."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from hostpulse.bus.errors import BrokerError, UsageError
from hostpulse.bus.mqtt import MqttOptions
from hostpulse.config.errors import SettingsError
from hostpulse.config.load import Loaded, load
from hostpulse.config.settings import Settings
from hostpulse.consumer.service import ConsumerOptions
from hostpulse.consumer.storage.options import InfluxOptions
from hostpulse.publisher.collectors import Choice
from hostpulse.publisher.outbox import OutboxOptions
from hostpulse.publisher.service import PublisherOptions
from hostpulse.stack.broker import Endpoint, find_running

__all__ = [
    "add_action",
    "add_setting_options",
    "choice",
    "consumer_options",
    "influx_options",
    "influx_target",
    "load_settings",
    "mqtt_options",
    "publisher_options",
    "warn",
]

# Options of their own for what people set most; every other setting through --set.
_SHORTCUTS = {"data_dir": "data_dir", "interval": "interval", "name": "host", "broker": "mqtt.host"}


def add_action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    """Add a command below a command, with the options that change settings.

    Args:
        actions: of the command.
        name: of the new one.
        text: what it does.
    """
    action = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
    add_setting_options(action)
    return action


def add_setting_options(parser: argparse.ArgumentParser, *, machine: bool = False, broker: bool = False) -> None:
    """Add the options that change settings.

    Args:
        parser: of the command.
        machine: also those about what is published.
        broker: also those about the broker.
    """
    group = parser.add_argument_group("settings")
    group.add_argument("--config", type=Path, metavar="FILE", help="read settings from this TOML file")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        dest="assignments",
        metavar="KEY=VALUE",
        help="override one setting, for example --set mqtt.port=8883; `hostpulse config show` lists them",
    )
    group.add_argument("--data-dir", dest="data_dir", metavar="DIR", help="where history and the broker's store lie")
    if machine:
        group.add_argument("--interval", metavar="SECONDS", help="time between two samples")
        group.add_argument("--name", metavar="HOST", help="name to publish this machine under")
    if broker:
        group.add_argument("--broker", metavar="HOST", help="the MQTT broker to use instead of the embedded one")


def load_settings(arguments: argparse.Namespace) -> Loaded:
    """Return the effective settings.

    Raises:
        UsageError: with a line for each mistake.
    """
    overrides: dict[str, str] = {}
    for assignment in arguments.assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment}: write KEY=VALUE, for example --set interval=5")
        overrides[key.strip()] = value
    options: dict[str, str] = {}
    for option, key in _SHORTCUTS.items():
        if (value := getattr(arguments, option, None)) is not None:
            overrides[key] = value
            options[f"--set {key}"] = f"--{option.replace('_', '-')}"
    try:
        loaded = load(overrides=overrides, config_file=arguments.config, environ=os.environ)
    except SettingsError as error:
        # People look for the option that they wrote.
        problems = (problem.partition(": ") for problem in error.problems)
        raise SettingsError(*(options.get(origin, origin) + colon + text for origin, colon, text in problems)) from None
    return replace(loaded, origins={key: options.get(origin, origin) for key, origin in loaded.origins.items()})


def warn(loaded: Loaded) -> Settings:
    """Say what is worth a warning, a line each, and return the settings."""
    for warning in loaded.warnings:
        print(f"hostpulse: warning: {warning}", file=sys.stderr)
    return loaded.settings


def mqtt_options(settings: Settings, role: str, endpoint: Endpoint | None = None) -> MqttOptions:
    """Return how a role connects: to the broker of the settings, else to the embedded one.

    Args:
        settings: the settings.
        role: end of the client id; each connection needs its own.
        endpoint: the embedded broker, where it is known; else it is looked for.

    Raises:
        BrokerError: no broker is set, and none is running here.
    """
    mqtt = settings.mqtt
    client_id = f"{mqtt.client_id or f'hostpulse-{settings.host}'}-{role}"
    if mqtt.host is None:
        embedded = endpoint or find_running(settings.data_dir)
        if embedded is None:
            raise BrokerError(
                f"no broker: set mqtt.host, or run `hostpulse up` (no embedded one runs for {settings.data_dir})"
            )
        return MqttOptions(
            host=embedded.host,
            port=embedded.port,
            username=embedded.username,
            password=embedded.password,
            client_id=client_id,
        )
    return MqttOptions(
        host=mqtt.host,
        port=mqtt.effective_port,
        username=mqtt.username,
        password=None if mqtt.password is None else mqtt.password.get_secret_value(),
        client_id=client_id,
        tls=mqtt.tls,
        ca_file=_text(mqtt.ca_file),
        cert_file=_text(mqtt.cert_file),
        key_file=_text(mqtt.key_file),
        protocol=mqtt.protocol,
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def choice(settings: Settings) -> Choice:
    """Return what is to be collected."""
    collect = settings.collect
    return Choice(
        disable=collect.disable,
        ignore_interfaces=collect.ignore_interfaces,
        ignore_devices=collect.ignore_devices,
        ignore_file_systems=collect.ignore_file_systems,
        ignore_mounts=collect.ignore_mounts,
    )


def publisher_options(settings: Settings, mqtt: MqttOptions) -> PublisherOptions:
    """Return what the publisher is told."""
    return PublisherOptions(
        host=settings.host,
        interval=settings.interval,
        mqtt=mqtt,
        prefix=settings.mqtt.prefix,
        proc=str(settings.roots.proc),
        sys=str(settings.roots.sys),
        filesystem=str(settings.roots.filesystem),
        choice=choice(settings),
        data_dir=str(settings.data_dir),
        outbox=OutboxOptions(
            size_bytes=settings.outbox.size_bytes,
            age_seconds=settings.outbox.age_seconds,
            sync_seconds=settings.outbox.sync_seconds,
        ),
        heartbeat_file=_text(settings.heartbeat_file),
        log_level=settings.log_level,
    )


def influx_options(settings: Settings) -> InfluxOptions | None:
    """Return where InfluxDB is; None for the embedded store."""
    return None if settings.store.kind != "influxdb" else influx_target(settings)


def influx_target(settings: Settings) -> InfluxOptions:
    """Return where InfluxDB is, whatever store is chosen.

    Raises:
        UsageError: the settings do not say; with a line for each that is missing.
    """
    influxdb = settings.influxdb
    if influxdb.token is None or influxdb.org is None:
        missing = [name for name in ("token", "org") if getattr(influxdb, name) is None]
        raise UsageError("\n".join(f"influxdb.{name} is not set; set it" for name in missing))
    return InfluxOptions(
        url=influxdb.url, token=influxdb.token.get_secret_value(), org=influxdb.org, bucket=influxdb.bucket
    )


def consumer_options(settings: Settings, mqtt: MqttOptions) -> ConsumerOptions:
    """Return what the consumer is told."""
    return ConsumerOptions(
        host=settings.host,
        influxdb=influx_options(settings),
        mqtt=mqtt,
        data_dir=str(settings.data_dir),
        prefix=settings.mqtt.prefix,
        share=settings.mqtt.share,
        heartbeat_file=_text(settings.heartbeat_file),
        retention_seconds=settings.store.retention_seconds,
        rollup_retention_seconds=settings.store.rollup_retention_seconds,
        maximum_hosts=settings.store.maximum_hosts,
        maximum_entries=settings.store.maximum_entries,
        log_level=settings.log_level,
    )
