"""Where the broker is and how to log in."""

import ssl
from typing import Literal

from msgspec import Struct
from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ..errors import UsageError

__all__ = ["MqttOptions", "configure", "connect_arguments", "tls_context"]

SESSION_EXPIRY_SECONDS = 7 * 86400  # MQTT 5 only; 3.1.1 leaves it to the broker


class MqttOptions(Struct, frozen=True, kw_only=True):
    """Where the broker is and how to log in.

    Attributes:
        host: name or address.
        port: TCP port.
        client_id: unique at the broker; two clients with one id throw each other out.
        username: None without a login.
        password: None without one.
        tls: encrypt, and check the broker's certificate and name.
        ca_file: authorities to trust instead of the system's.
        cert_file: the client's own certificate.
        key_file: its key.
        protocol: 3.1.1 costs paho half of what 5 does.
        keepalive_seconds: a dead connection is noticed within two of these.
    """

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    keepalive_seconds: int = 6

    @property
    def address(self) -> str:
        """The broker as people write it: `host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"MqttOptions({self.client_id!r} at {self.address})"  # never the password


def tls_context(options: MqttOptions) -> ssl.SSLContext | None:
    """Return the TLS context that the options ask for; None without TLS.

    Raises:
        UsageError: a file of certificates cannot be used.
    """
    if not options.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"mqtt.ca_file {options.ca_file}: {error.strerror or error}") from None
    if options.cert_file:
        try:
            context.load_cert_chain(options.cert_file, options.key_file)
        except OSError as error:
            files = f"mqtt.cert_file {options.cert_file} and mqtt.key_file {options.key_file}"
            raise UsageError(f"{files}: {error.strerror or error}") from None
    return context


def configure(client: Client, options: MqttOptions, *, clean: bool) -> None:
    """Give a paho client its login and its broker; nothing is sent yet."""
    if options.username is not None:
        client.username_pw_set(options.username, options.password)
    arguments: dict[str, object] = {}
    if options.protocol == "5":
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        if not clean:
            properties.SessionExpiryInterval = SESSION_EXPIRY_SECONDS
        arguments = {"clean_start": clean, "properties": properties}
    client.connect_async(options.host, options.port, options.keepalive_seconds, **arguments)  # type: ignore[arg-type]


def connect_arguments(options: MqttOptions, *, clean: bool) -> dict[str, object]:
    """Return the arguments of paho's `Client` that both kinds of connection share."""
    version = MQTTv5 if options.protocol == "5" else MQTTv311
    arguments: dict[str, object] = {
        "callback_api_version": CallbackAPIVersion.VERSION2,
        "client_id": options.client_id,
        "protocol": version,
    }
    if version != MQTTv5:
        arguments["clean_session"] = clean
    return arguments
