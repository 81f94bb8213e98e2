"""Where the default rules of the alerts are."""

from pathlib import Path

__all__ = ["DEFAULT_RULES_FILE"]

DEFAULT_RULES_FILE = Path(__file__).with_name("alerts.toml")
"""The data file of this package; `hostpulse.consumer.alerts` reads what is in it."""
