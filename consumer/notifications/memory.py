"""What a route has to know after a restart, beside its position; it lies in the journal with it."""

import msgspec
from msgspec import Struct

from ..storage import StorageError

__all__ = ["Memory"]


class Memory(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a route remembers.

    Attributes:
        told: instances of the alerts that were told here and have not ended.
        attempt: number of the last entry of the notification that is being sent, so that it is the same one at the
            next attempt; 0 for none.
    """

    told: frozenset[str] = frozenset()
    attempt: int = 0

    def dump(self) -> bytes:
        """Return it as the journal keeps it."""
        return msgspec.json.encode(self)

    @classmethod
    def load(cls, data: bytes) -> "Memory":
        """Return what was kept; an empty one for nothing.

        Raises:
            StorageError: another version wrote it, or nobody did.
        """
        try:
            return msgspec.json.decode(data, type=cls) if data else cls()
        except msgspec.MsgspecError as error:
            raise StorageError(f"what the journal remembers of a route cannot be read ({error})") from None
