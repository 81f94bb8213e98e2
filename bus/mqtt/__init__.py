"""MQTT on paho: `Session` sends, `Receiver` takes batches; neither has a thread of its own in steady state."""

from .intake import Taking
from .options import MqttOptions
from .packets import Batch
from .receiver import Receiver
from .session import MAXIMUM_PAYLOAD_BYTES, Publication, Session

__all__ = ["MAXIMUM_PAYLOAD_BYTES", "Batch", "MqttOptions", "Publication", "Receiver", "Session", "Taking"]
