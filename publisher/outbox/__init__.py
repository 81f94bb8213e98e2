"""Messages on their way to the broker: kept on disk until it has them, and for a while after."""

from .message import Message
from .options import OutboxOptions
from .outbox import Outbox

__all__ = ["Message", "Outbox", "OutboxOptions"]
