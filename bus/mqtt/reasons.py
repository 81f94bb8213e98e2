"""Why a connection failed, in one line that says what to do."""

import socket
import ssl

from paho.mqtt.reasoncodes import ReasonCode

from .options import MqttOptions

__all__ = ["explain_error", "explain_refusal"]

_REFUSALS = {
    "Unsupported protocol version": "the broker does not speak this version; set mqtt.protocol to the other one",
    "Client identifier not valid": "the broker refuses the client id; set mqtt.client_id",
    "Bad user name or password": "wrong user name or password; set mqtt.username and mqtt.password",
    "Not authorized": "not authorized; set mqtt.username and mqtt.password to an account that may connect",
    "Server unavailable": "the broker is not ready yet",
    "Session taken over": "another client uses the same client id; give each its own mqtt.client_id",
}

_FAILURES = {
    TimeoutError: "it does not answer; check mqtt.host, mqtt.port and the firewall",
    ConnectionRefusedError: "nothing listens there; is the broker running? check mqtt.host and mqtt.port",
}


def explain_refusal(reason: ReasonCode) -> str:
    """Return what the broker's reason for refusing means for the settings."""
    name = reason.getName()
    return _REFUSALS.get(name, name.lower())


def explain_error(error: BaseException, options: MqttOptions) -> str:
    """Return what an exception while connecting means for the settings."""
    if isinstance(error, socket.gaierror):
        return f"no address is known for {options.host!r}; check mqtt.host"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); set mqtt.ca_file or mqtt.host to its name"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error}); check mqtt.port and mqtt.tls"
    for kind, text in _FAILURES.items():
        if isinstance(error, kind):
            return text
    return (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"
