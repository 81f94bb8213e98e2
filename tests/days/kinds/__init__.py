"""The five kinds of machines, a module for each."""

from ..kind import Kind
from .desktop import DESKTOP
from .laptop import LAPTOP
from .raspberry_pi import RASPBERRY_PI
from .server import SERVER
from .vm import VM

__all__ = ["KINDS"]

KINDS: dict[str, Kind] = {kind.name: kind for kind in (DESKTOP, LAPTOP, RASPBERRY_PI, SERVER, VM)}
"""All of them, by name."""
