"""The cache of ZFS."""

import re

from ..files import OpenFile

__all__ = ["ZfsCache"]

_STATISTIC = re.compile(rb"^(size|c_min)\s+\d+\s+(\d+)$", re.MULTILINE)


class ZfsCache:
    """What ZFS keeps of its pools in memory (ARC) and gives back when programs need it.

    The kernel knows nothing of that and counts all of it as used; it is most of the memory of many a server.

    Args:
        proc: where the machine's /proc is. Without ZFS there is no cache.
    """

    def __init__(self, proc: str) -> None:
        self._file = OpenFile(f"{proc}/spl/kstat/zfs/arcstats")

    def reclaimable_bytes(self) -> int:
        """Return what ZFS would give back now: all that is beyond the least that it keeps."""
        try:
            found = dict(_STATISTIC.findall(self._file.read()))
        except OSError:
            return 0
        return max(0, int(found.get(b"size", 0)) - int(found.get(b"c_min", 0)))
