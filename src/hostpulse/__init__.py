"""hostpulse: a machine's vital signs on MQTT, their history, alerts, and why the fan is running."""

__version__ = "0.1.0"
