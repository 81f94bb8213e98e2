"""The errors that cross the bus, as one tree.

HostpulseError                  something a person can mend: one line that names the thing and the fix
├── UsageError                  wrong use: a setting, an option, an argument
│   └── MistakesError           several of them: the settings, the rules
├── BrokerError                 the broker cannot be reached, or refuses
└── MessageError                a message that cannot be used
    ├── WrongTopicError         not a topic of ours, or not the topic of its content
    ├── MessageTooLargeError    larger than a message may be
    ├── MalformedError          not JSON, or nested too deeply
    ├── WrongVersionError       of a version that we do not speak
    ├── UnknownSubsystemError   of a subsystem that we do not know
    ├── WrongTypeError          a field missing or of another type
    └── TimestampError          sampled in the future, or impossibly long ago
"""

__all__ = [
    "BrokerError",
    "HostpulseError",
    "MalformedError",
    "MessageError",
    "MessageTooLargeError",
    "MistakesError",
    "TimestampError",
    "UnknownSubsystemError",
    "UsageError",
    "WrongTopicError",
    "WrongTypeError",
    "WrongVersionError",
]


class HostpulseError(Exception):
    """Something a person can mend. Its text is one line that names the thing and the fix."""


class UsageError(HostpulseError):
    """Wrong use: a setting, an option or an argument that cannot be right."""


class MistakesError(UsageError):
    """Several mistakes in one source, such as a file. Its text is one line for each.

    Args:
        problems: the lines.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class BrokerError(HostpulseError):
    """The broker cannot be reached, or refuses the connection."""


class MessageError(HostpulseError):
    """A message from the bus that cannot be used."""

    kind = "unusable"


class WrongTopicError(MessageError):
    """The topic is not one of ours, or its host or subsystem is not the message's."""

    kind = "wrong_topic"


class MessageTooLargeError(MessageError):
    """The message is larger than a message may be."""

    kind = "too_large"


class MalformedError(MessageError):
    """The payload is not JSON, or nested too deeply."""

    kind = "malformed"


class WrongVersionError(MessageError):
    """The message is of a version that we do not speak."""

    kind = "wrong_version"


class UnknownSubsystemError(MessageError):
    """The message is of a subsystem that we do not know."""

    kind = "unknown_subsystem"


class WrongTypeError(MessageError):
    """A field is missing, or not of the type and range that the contract gives it."""

    kind = "wrong_type"


class TimestampError(MessageError):
    """The sample was taken in the future, or impossibly long ago."""

    kind = "timestamp"
