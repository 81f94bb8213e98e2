"""MQTT on paho: `Session` sends, `Receiver` takes batches; neither has a thread of its own in steady state."""

from .options import MqttOptions
from .receiver import Batch, Receiver
from .session import Publication, Session

__all__ = ["Batch", "MqttOptions", "Publication", "Receiver", "Session"]
