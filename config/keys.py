"""Every key of the settings by its dotted name, derived from the model."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from .settings import Settings

__all__ = ["KEYS", "PREFIX", "SECTIONS", "Key"]

PREFIX = "HOSTPULSE_"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting that holds a value.

    Attributes:
        name: dotted: `mqtt.host`.
        field: its field in the model.
    """

    name: str
    field: FieldInfo

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.name.upper().replace(".", "__")

    @property
    def is_secret(self) -> bool:
        """Whether nobody may see its value."""
        return SecretStr in self._types

    @property
    def is_optional(self) -> bool:
        """Whether it may have no value."""
        return type(None) in self._types

    @property
    def is_list(self) -> bool:
        """Whether its value is a list."""
        return get_origin(self.field.annotation) is tuple

    @property
    def _types(self) -> list[Any]:
        alternatives = get_args(self.field.annotation) or (self.field.annotation,)
        return [get_args(one)[0] if get_origin(one) is Annotated else one for one in alternatives]

    def value(self, settings: Settings) -> object:
        """Return its value in the settings."""
        value: object = settings
        for part in self.name.split("."):
            value = getattr(value, part)
        return value


def _section(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _keys() -> Iterator[Key]:
    for name, field in Settings.model_fields.items():
        section = _section(field)
        if section is None:
            yield Key(name, field)
        else:
            for inner, inner_field in section.model_fields.items():
                yield Key(f"{name}.{inner}", inner_field)


SECTIONS: MappingProxyType[str, type[BaseModel]] = MappingProxyType(
    {name: section for name, field in Settings.model_fields.items() if (section := _section(field)) is not None}
)
"""The model of every section by its name."""

KEYS: MappingProxyType[str, Key] = MappingProxyType({key.name: key for key in _keys()})
"""Every key by its dotted name, in the order of the model."""
