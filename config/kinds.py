"""The kinds of values that settings have, with their bounds.

The text of a `ValueError` here continues a line that begins with the key: "interval must be …".
"""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from hostpulse.bus.errors import UsageError
from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.bus.sizes import parse_size
from hostpulse.bus.times import parse_duration
from hostpulse.bus.topics import MAXIMUM_PART_LENGTH, Topics, escape

from .text import in_error, nearest

__all__ = [
    "Addresses",
    "ClientId",
    "Duration",
    "Group",
    "HostName",
    "HttpAddress",
    "List",
    "LogLevelText",
    "Name",
    "NetworkHost",
    "NotBool",
    "NumberAsText",
    "Pattern",
    "PerHour",
    "Port",
    "Prefix",
    "Secret",
    "SecretHttpAddress",
    "Size",
    "Subsystem",
    "Sync",
    "Tag",
    "Token",
    "UserPath",
    "Wait",
]

_MAXIMUM_MQTT_TEXT = 65_535  # MQTT counts the bytes of a text in 16 bits
_MAXIMUM_ENTRIES = 1024
_MQTT_5 = 5
_SHORTEST_DURATION = "1h"
_LONGEST_DURATION = "100y"
_SMALLEST_SIZE = "1 MiB"
_LARGEST_SIZE = "1 TiB"
_LONGEST_SYNC = "1h"
_LONGEST_WAIT = "1h"


def _refuse_bool(value: object) -> object:
    # To Python `true` is 1; to people it is a mistake.
    if isinstance(value, bool):
        raise ValueError(f"must be a number, not {in_error(value)}")  # noqa: TRY004 - pydantic passes a TypeError on
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _number_as_text(value: object) -> object:
    return str(_MQTT_5) if value == _MQTT_5 and not isinstance(value, bool) else value


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return text


def _check_topic_part(text: str) -> str:
    length = len(escape(text))
    if length > MAXIMUM_PART_LENGTH:
        raise ValueError(
            f"is too long: escaped for a topic it has {length} characters, at most {MAXIMUM_PART_LENGTH} fit"
        )
    return text


def _check_prefix(text: str) -> str:
    try:
        Topics(text)
    except UsageError:
        raise ValueError(
            f"must be able to begin a topic, not {in_error(text)}: no +, no #, no $ at the start, no empty part"
        ) from None
    return text


def _check_network_host(text: str) -> str:
    # The text is not shown: a URL may hold a password.
    _, _, port = text.partition(":")
    if "/" in text or "@" in text:
        raise ValueError("must be a name or an address, not a URL; mqtt.port, mqtt.tls and mqtt.username say the rest")
    if port.isdecimal():
        raise ValueError("must be a name or an address alone; the port belongs in mqtt.port")
    if any(sign.isspace() for sign in text):
        raise ValueError("must be a name or an address, without spaces")
    return text


def _check_http_address(text: str) -> str:
    # The text is not shown: it may hold a password.
    try:
        address = urlsplit(text)
        valid = address.scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be an address such as http://127.0.0.1:8086")
    return text


def _check_secret_http_address(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be an address such as https://example.org/hook")
    try:
        _check_http_address(text)
    except ValueError:
        raise ValueError("must be an address such as https://example.org/hook") from None
    return secret


def _one_or_several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _check_address(secret: SecretStr) -> SecretStr:
    scheme, separator, rest = secret.get_secret_value().partition("://")
    if not scheme or not separator or not rest:
        raise ValueError("must be a URL of Apprise such as ntfy://ntfy.sh/topic; docs/notifications.md has more")
    return secret


def _check_wait(text: str) -> str:
    try:
        seconds = parse_duration(text)
    except UsageError:
        raise ValueError(f"must be a duration such as 10s or 1m, not {in_error(text)}") from None
    if seconds > parse_duration(_LONGEST_WAIT):
        raise ValueError(f"must be at most {_LONGEST_WAIT}, not {in_error(text)}")
    return text


def _check_group(text: str) -> str:
    if any(sign in text for sign in "/+#"):
        raise ValueError(f"must not contain /, + or #, not {in_error(text)}")
    return text


def _check_mqtt_length(text: str) -> str:
    if len(text.encode()) > _MAXIMUM_MQTT_TEXT:
        raise ValueError(f"must be at most {_MAXIMUM_MQTT_TEXT} bytes long")
    return text


def _check_secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text:
        raise ValueError("must not be empty")
    try:
        _check_mqtt_length(text)
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8 text") from None
    return secret


def _check_token(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("must be printable ASCII text, as it was given out")
    return secret


def _check_duration(text: str) -> str:
    try:
        seconds = parse_duration(text)
    except UsageError:
        raise ValueError(f"must be a duration such as 12h, 30d or 2y, not {in_error(text)}") from None
    if not parse_duration(_SHORTEST_DURATION) <= seconds <= parse_duration(_LONGEST_DURATION):
        raise ValueError(f"must be from {_SHORTEST_DURATION} to {_LONGEST_DURATION}, not {in_error(text)}")
    return text


def _check_size(text: str) -> str:
    try:
        size = parse_size(text)
    except UsageError:
        raise ValueError(f"must be a size such as 64 MiB or 1 GiB, not {in_error(text)}") from None
    if not parse_size(_SMALLEST_SIZE) <= size <= parse_size(_LARGEST_SIZE):
        raise ValueError(f"must be from {_SMALLEST_SIZE} to {_LARGEST_SIZE}, not {in_error(text)}")
    return text


def _check_sync(text: str) -> str:
    if text in {"never", "always"}:
        return text
    try:
        seconds = parse_duration(text)
    except UsageError:
        raise ValueError(f"must be never, always or a duration such as 30s, not {in_error(text)}") from None
    if not 0 < seconds <= parse_duration(_LONGEST_SYNC):
        raise ValueError(f"must be never, always or a duration of at most {_LONGEST_SYNC}, not {in_error(text)}")
    return text


def _check_path_text(value: object) -> object:
    # Path("") would be the working directory.
    if value == "":
        raise ValueError("must not be empty")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("must not contain control characters")
    return value


def _expand_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("begins with a home directory that does not exist") from None


def _check_subsystem(name: str) -> str:
    if name not in SUBSYSTEMS:
        meant = nearest(name, SUBSYSTEMS)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(SUBSYSTEMS)}"
        raise ValueError(f"names the subsystem {in_error(name)}, which does not exist; {hint}")
    return name


_Text = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_check_printable)]

NotBool = BeforeValidator(_refuse_bool)
NumberAsText = BeforeValidator(_number_as_text)  # TOML's `protocol = 5`
LogLevelText = BeforeValidator(_lower)  # INFO is what many environments set
List = Field(max_length=_MAXIMUM_ENTRIES)

HostName = Annotated[_Text, AfterValidator(_check_topic_part)]
NetworkHost = Annotated[_Text, AfterValidator(_check_network_host)]
HttpAddress = Annotated[_Text, AfterValidator(_check_http_address)]
Group = Annotated[_Text, AfterValidator(_check_group)]
ClientId = Annotated[_Text, AfterValidator(_check_topic_part)]
Name = Annotated[str, Field(min_length=1), AfterValidator(_check_printable), AfterValidator(_check_mqtt_length)]
Prefix = Annotated[_Text, AfterValidator(_check_prefix)]
Pattern = Annotated[str, Field(min_length=1, max_length=255)]
Port = Annotated[int, Field(ge=1, le=65_535), NotBool]
Limit = Annotated[int, Field(ge=1, le=1_000_000), NotBool]
Secret = Annotated[SecretStr, AfterValidator(_check_secret)]
SecretHttpAddress = Annotated[SecretStr, AfterValidator(_check_secret_http_address)]
Addresses = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_check_address)], ...], BeforeValidator(_one_or_several)
]
Tag = Annotated[_Text, Field(max_length=64)]
PerHour = Annotated[int, Field(ge=1, le=10_000), NotBool]
Wait = Annotated[str, Field(max_length=32, json_schema_extra={"format": "duration"}), AfterValidator(_check_wait)]
Token = Annotated[SecretStr, AfterValidator(_check_token)]
Duration = Annotated[
    str, Field(max_length=32, json_schema_extra={"format": "duration"}), AfterValidator(_check_duration)
]
Size = Annotated[str, Field(max_length=32, json_schema_extra={"format": "size"}), AfterValidator(_check_size)]
Sync = Annotated[str, Field(max_length=32, json_schema_extra={"format": "sync"}), AfterValidator(_check_sync)]
UserPath = Annotated[Path, BeforeValidator(_check_path_text), AfterValidator(_expand_home)]
Subsystem = Annotated[str, AfterValidator(_check_subsystem)]
