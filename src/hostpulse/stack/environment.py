"""What a service that we start may know of our environment."""

from collections.abc import Mapping

__all__ = ["service_environment"]

_SETTINGS = "HOSTPULSE_"


def service_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without our settings: services get theirs otherwise, and some of them are secrets."""
    return {name: value for name, value in environ.items() if not name.upper().startswith(_SETTINGS)}
