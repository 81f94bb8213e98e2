"""Where the broker is and how to log in."""

import ssl
from typing import Any, Literal, cast

from msgspec import Struct
from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ..errors import UsageError

__all__ = ["MqttOptions", "make_client", "tls_context"]

_SESSION_EXPIRY_SECONDS = 7 * 86400  # MQTT 5 only; 3.1.1 leaves it to the broker
_CONNECT_TIMEOUT_SECONDS = 5.0


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
        keepalive_seconds: a connection that has gone silent is noticed within two and a half of these.
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


def _no_password() -> str:
    """Refuse an encrypted key; OpenSSL would ask the terminal, and a service would wait there for ever."""
    raise UsageError("mqtt.key_file is encrypted; store it without a password: openssl pkey -in FILE -out NEW_FILE")


def tls_context(options: MqttOptions) -> ssl.SSLContext | None:
    """Return the TLS context that the options ask for; None without TLS.

    Raises:
        UsageError: a file of certificates cannot be used.
    """
    if not options.tls:
        return None
    context = _trusting("mqtt.ca_file", options.ca_file)
    if options.cert_file:
        _show_certificate(context, options.cert_file, options.key_file)
    return context


def _trusting(key: str, file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise UsageError(f"{key} {file} holds no certificate (PEM: -----BEGIN CERTIFICATE-----)") from None
    except OSError as error:
        raise UsageError(f"{key} {file}: {error.strerror or error}") from None


def _show_certificate(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    try:
        context.load_cert_chain(cert_file, key_file, _no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UsageError(f"mqtt.key_file {key_file} is not the key of mqtt.cert_file {cert_file}") from None
        _trusting("mqtt.cert_file", cert_file)  # raises if it is that one
        raise UsageError(f"mqtt.key_file {key_file} holds no private key (PEM: -----BEGIN PRIVATE KEY-----)") from None
    except OSError as error:
        files = f"mqtt.cert_file {cert_file} and mqtt.key_file {key_file}"
        raise UsageError(f"{files}: {error.strerror or error}") from None


def make_client(
    options: MqttOptions,
    wrapper: object,
    *,
    clean: bool,
    in_flight: int | None = None,
    keepalive_seconds: int | None = None,
    receive_maximum: int | None = None,
    maximum_packet_bytes: int | None = None,
) -> Client:
    """Return a paho client that knows its broker and its login; nothing is sent yet.

    Args:
        options: the broker and the login.
        wrapper: makes paho's streams, see `transport`.
        clean: whether the broker forgets us when the connection ends.
        in_flight: how many of our messages may be out without an acknowledgement.
        keepalive_seconds: another than that of the options.
        receive_maximum: how many messages may come without an acknowledgement; MQTT 5 only.
        maximum_packet_bytes: what is larger shall not come at all; MQTT 5 only.
    """
    arguments: dict[str, Any] = {} if options.protocol == "5" else {"clean_session": clean}
    client = Client(
        callback_api_version=CallbackAPIVersion.VERSION2,
        client_id=options.client_id,
        protocol=MQTTv5 if options.protocol == "5" else MQTTv311,
        manual_ack=not clean,
        reconnect_on_failure=False,  # paho would connect again inside a callback, with an older protocol
        **arguments,
    )
    client.tls_set_context(cast("ssl.SSLContext", wrapper))  # the public way to give paho its socket
    client.connect_timeout = _CONNECT_TIMEOUT_SECONDS
    if in_flight is not None:
        client.max_inflight_messages = in_flight
    if options.username is not None:
        client.username_pw_set(options.username, options.password)
    arguments = {}
    if options.protocol == "5":
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        if not clean:
            properties.SessionExpiryInterval = _SESSION_EXPIRY_SECONDS
        if receive_maximum is not None:
            properties.ReceiveMaximum = receive_maximum
        if maximum_packet_bytes is not None:
            properties.MaximumPacketSize = maximum_packet_bytes
        arguments = {"clean_start": clean, "properties": properties}
    client.connect_async(options.host, options.port, keepalive_seconds or options.keepalive_seconds, **arguments)
    return client
