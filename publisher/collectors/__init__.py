"""The collectors: one file per subsystem. They know the machine, and nothing of MQTT."""

from .base import Collector, MissingError, NoDataError
from .registry import Choice, build

__all__ = ["Choice", "Collector", "MissingError", "NoDataError", "build"]
