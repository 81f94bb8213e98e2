"""What is wrong with the settings, a line for each mistake."""

from dataclasses import dataclass

from hostpulse.bus.errors import MistakesError

from .text import printable

__all__ = ["Problem", "SettingsError"]


class SettingsError(MistakesError):
    """The settings cannot be used."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.

    Attributes:
        origin: where it was made: a file, a variable, an option.
        text: what is wrong, without the value of a secret.
        about: key or section that was set wrongly or probably meant; "" if that is not known.
    """

    origin: str
    text: str
    about: str = ""

    def __str__(self) -> str:
        return printable(f"{self.origin}: {self.text}")
