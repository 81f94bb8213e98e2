"""What is wrong with settings that are each right on their own."""

import stat
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

from .routes import Route
from .settings import Mqtt, Settings, Store

__all__ = ["Conflict", "find_conflicts"]


class Conflict(NamedTuple):
    """Settings that do not go together, the one to blame first."""

    keys: tuple[str, ...]
    text: str


def find_conflicts(settings: Settings, secret: Container[str]) -> Iterator[Conflict]:
    """Find what does not go together, and certificate files that cannot be read.

    Args:
        settings: each of them right on its own.
        secret: keys whose values may not be shown.
    """
    yield from _login(settings.mqtt)
    yield from _certificates(settings.mqtt, secret)
    yield from _retention(settings.store, secret)
    yield from _influxdb(settings)
    yield from _share(settings)
    for name, route in settings.alerts.notify.items():
        yield from _route(f"alerts.notify.{name}", route, secret)


def _shown(key: str, value: object, secret: Container[str]) -> str:
    return key if key in secret else f"{key} ({value})"


def _login(mqtt: Mqtt) -> Iterator[Conflict]:
    if mqtt.password is not None and mqtt.username is None:
        yield Conflict(("mqtt.password", "mqtt.username"), "mqtt.password is set without mqtt.username; set both")


def _certificates(mqtt: Mqtt, secret: Container[str]) -> Iterator[Conflict]:
    if mqtt.cert_file is not None and mqtt.key_file is None:
        yield Conflict(("mqtt.cert_file", "mqtt.key_file"), "mqtt.cert_file is set without mqtt.key_file; set both")
    if mqtt.key_file is not None and mqtt.cert_file is None:
        yield Conflict(("mqtt.key_file", "mqtt.cert_file"), "mqtt.key_file is set without mqtt.cert_file; set both")
    for name in ("ca_file", "cert_file", "key_file"):
        path: Path | None = getattr(mqtt, name)
        if path is None:
            continue
        key = f"mqtt.{name}"
        if not mqtt.tls:
            yield Conflict((key, "mqtt.tls"), f"{key} has no effect without TLS; set mqtt.tls to true")
        trouble = _trouble_reading(path)
        if trouble:
            yield Conflict((key,), f"{_shown(key, path, secret)} cannot be read: {trouble}")


def _trouble_reading(path: Path) -> str:
    try:
        # Opening a pipe would wait for its other end.
        if not stat.S_ISREG(path.stat().st_mode):
            return "Not a file"
        with path.open("rb"):
            return ""
    except OSError as error:
        return error.strerror or type(error).__name__


def _retention(store: Store, secret: Container[str]) -> Iterator[Conflict]:
    if store.retention_seconds > store.rollup_retention_seconds:
        yield Conflict(
            ("store.retention", "store.rollup_retention"),
            f"{_shown('store.retention', store.retention, secret)} is longer than "
            f"{_shown('store.rollup_retention', store.rollup_retention, secret)}",
        )


def _influxdb(settings: Settings) -> Iterator[Conflict]:
    for name in ("token", "org"):
        if settings.store.kind == "influxdb" and getattr(settings.influxdb, name) is None:
            key = f"influxdb.{name}"
            yield Conflict((key, "store.kind"), f"{key} is not set, and store.kind is influxdb; set it")


def _share(settings: Settings) -> Iterator[Conflict]:
    if settings.mqtt.share is None:
        return
    if settings.mqtt.host is None:
        text = "mqtt.share needs a broker of your own, the embedded one has no shared subscriptions; set mqtt.host"
        yield Conflict(("mqtt.share", "mqtt.host"), text)
    if settings.store.kind != "influxdb":
        text = "mqtt.share needs InfluxDB, the embedded store has one writer; set store.kind to influxdb"
        yield Conflict(("mqtt.share", "store.kind"), text)


def _route(path: str, route: Route, secret: Container[str]) -> Iterator[Conflict]:
    """Find what is wrong with a route, of which any key may be the only one that is set."""
    keys = tuple(f"{path}.{name}" for name in type(route).model_fields)
    if not route.apprise and route.webhook is None:
        yield Conflict(keys, f"{path} has neither apprise nor webhook, so it leads nowhere; set one of them")
    if route.apprise and route.webhook is not None:
        yield Conflict(keys, f"{path} has both apprise and webhook; make two routes of it")
    for name in ("secret", "ca_file"):
        if getattr(route, name) is not None and route.webhook is None:
            yield Conflict((f"{path}.{name}", f"{path}.webhook"), f"{path}.{name} has no effect without webhook")
    if route.ca_file is not None and (trouble := _trouble_reading(route.ca_file)):
        key = f"{path}.ca_file"
        yield Conflict((key,), f"{_shown(key, route.ca_file, secret)} cannot be read: {trouble}")
