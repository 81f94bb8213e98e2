"""Why a connection failed, in one line that says what to do."""

import socket
import ssl

from paho.mqtt.client import DisconnectFlags
from paho.mqtt.reasoncodes import ReasonCode

from .options import MqttOptions
from .transport import Stream, StreamError

__all__ = ["explain_denial", "explain_error", "explain_loss", "explain_refusal", "explain_silence"]

_REFUSALS = {
    "Unsupported protocol version": "the broker does not speak this version; set mqtt.protocol to the other one",
    "Client identifier not valid": "the broker refuses the client id; set mqtt.client_id",
    "Bad user name or password": "wrong user name or password; set mqtt.username and mqtt.password",
    "Not authorized": "not authorized; set mqtt.username and mqtt.password to an account that may connect",
    "Server unavailable": "the broker is not ready yet",
    "Session taken over": "another client uses the same client id; give each its own mqtt.client_id",
    "Packet too large": "a message was larger than the broker takes",
    "Quota exceeded": "quota exceeded; this account has reached a limit of the broker",
    "Connection rate exceeded": "it takes no more connections just now",
    "Server busy": "the broker is busy",
    "Banned": "the broker has banned this client; ask who runs it",
    "Bad authentication method": "the broker wants another kind of login than a user name and a password",
    "Receive maximum exceeded": "more messages were out than the broker takes at once",
}

# Of one message or one subscription; the connection goes on. MQTT 3.1.1 knows only "Unspecified error".
_DENIALS = {
    "Not authorized": "not authorized",
    "Quota exceeded": "quota exceeded, a limit of the broker for this account",
    "Packet too large": "larger than the broker takes",
    "Topic name invalid": "the broker does not allow such a topic; see mqtt.prefix",
    "Topic filter invalid": "the broker does not allow such a filter; see mqtt.prefix",
    "Unspecified error": "",
}

_NOT_YET_VALID, _EXPIRED = 9, 10  # of OpenSSL's X509_V_ERR_…
_OTHER_NAME = frozenset({62, 64})  # another host name, another address

_FAILURES = {
    TimeoutError: "it does not answer; check mqtt.host, mqtt.port and the firewall",
    ConnectionRefusedError: "nothing listens there; is the broker running? check mqtt.host and mqtt.port",
    ConnectionError: "it broke the connection",
}


def explain_refusal(reason: ReasonCode) -> str:
    """Return what the broker's reason for refusing means for the settings."""
    name = reason.getName()
    return _REFUSALS.get(name, name.lower())


def explain_denial(reason: ReasonCode) -> str:
    """Return why the broker did not take one message or one subscription; empty where it did not say."""
    name = reason.getName()
    return _DENIALS.get(name, name.lower())


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
    if options.cert_file:
        return (
            "it closed the connection without an answer; is mqtt.cert_file still valid, and of an authority that the "
            "broker trusts?"
        )
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
        return f"its certificate is not trusted: {_explain_certificate(error, options)}"
    if isinstance(error, ssl.SSLError) or (options.tls and isinstance(error, ConnectionError)):
        return _explain_tls(error)
    for kind, text in _FAILURES.items():
        if isinstance(error, kind):
            return text
    return (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"


def _explain_certificate(error: ssl.SSLCertVerificationError, options: MqttOptions) -> str:
    if error.verify_code == _EXPIRED:
        return "it has expired; renew it on the broker (or is this machine's clock wrong?)"
    if error.verify_code == _NOT_YET_VALID:
        return "it is not valid yet; is this machine's clock right?"
    if error.verify_code in _OTHER_NAME:
        return f"it is not for {options.host!r}; set mqtt.host to a name that it is for"
    authority = f"mqtt.ca_file {options.ca_file}" if options.ca_file else "this system"
    return f"{authority} does not know its authority ({error.verify_message}); set mqtt.ca_file to that"


def _explain_tls(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, ConnectionRefusedError):
        return _FAILURES[ConnectionRefusedError]
    detail = reason.lower().replace("_", " ") if reason else "it broke the connection"
    return f"TLS failed ({detail}); is mqtt.port its port for MQTT with TLS? else set mqtt.tls to false"
