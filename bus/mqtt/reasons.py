"""Why a connection failed, in one line that says what to do."""

import socket
import ssl

from paho.mqtt.client import DisconnectFlags
from paho.mqtt.reasoncodes import ReasonCode

from .options import MqttOptions
from .transport import Stream, StreamError

__all__ = ["explain_error", "explain_loss", "explain_refusal", "explain_silence"]

_REFUSALS = {
    "Unsupported protocol version": "the broker does not speak this version; set mqtt.protocol to the other one",
    "Client identifier not valid": "the broker refuses the client id; set mqtt.client_id",
    "Bad user name or password": "wrong user name or password; set mqtt.username and mqtt.password",
    "Not authorized": "not authorized; set mqtt.username and mqtt.password to an account that may connect",
    "Server unavailable": "the broker is not ready yet",
    "Session taken over": "another client uses the same client id; give each its own mqtt.client_id",
    "Packet too large": "a message was larger than the broker takes",
}

_FAILURES = {
    TimeoutError: "it does not answer; check mqtt.host, mqtt.port and the firewall",
    ConnectionRefusedError: "nothing listens there; is the broker running? check mqtt.host and mqtt.port",
    ConnectionError: "it broke the connection",
}


def explain_refusal(reason: ReasonCode) -> str:
    """Return what the broker's reason for refusing means for the settings."""
    name = reason.getName()
    return _REFUSALS.get(name, name.lower())


def explain_loss(
    stream: Stream | None, flags: DisconnectFlags, reason: ReasonCode
) -> tuple[Exception | None, str | None]:
    """Return what ended a connection, as `Link.lost` takes it: the error, and what the broker said."""
    if flags.is_disconnect_packet_from_server:  # MQTT 5 only
        return None, explain_refusal(reason)
    if reason.getName() == "Keep alive timeout":
        return StreamError("it does not answer"), None
    if stream is not None and not stream.ended:  # so it was paho that ended it
        return StreamError("it sent what is not MQTT"), None
    return None if stream is None else stream.error, None


def explain_silence(options: MqttOptions) -> str:
    """Return what it means that the broker closed the connection before it said anything."""
    if options.tls:
        return "it closed the connection without an answer; set mqtt.cert_file and mqtt.key_file if it wants them"
    if options.protocol == "5":
        return "it closed the connection without an answer; set mqtt.protocol to 3.1.1, or mqtt.tls if it expects TLS"
    return "it closed the connection without an answer; set mqtt.tls if it expects TLS, and check mqtt.port"


def explain_error(error: BaseException, options: MqttOptions) -> str:
    """Return what an exception means for the settings."""
    if isinstance(error, StreamError):
        return str(error)
    if isinstance(error, (socket.gaierror, UnicodeError)):  # UnicodeError: a name that cannot be one
        return f"no address is known for {options.host!r}; check mqtt.host"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); set mqtt.ca_file or mqtt.host to its name"
    if isinstance(error, ssl.SSLError) or (options.tls and isinstance(error, ConnectionError)):
        return _explain_tls(error)
    for kind, text in _FAILURES.items():
        if isinstance(error, kind):
            return text
    return (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"


def _explain_tls(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, ConnectionRefusedError):
        return _FAILURES[ConnectionRefusedError]
    detail = reason.lower().replace("_", " ") if reason else "it broke the connection"
    return f"TLS failed ({detail}); is mqtt.port its port for MQTT with TLS? else set mqtt.tls to false"
