"""How far an import has come, kept in a file, so that one that was killed goes on where it was.

The file is written after the server has acknowledged what it tells of. A kill in between costs that a page is sent
twice, which changes nothing.
"""

import hashlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from hostpulse.bus.errors import HostpulseError

__all__ = ["Position", "Positions"]


class Position(Struct):
    """How far one part has come.

    Attributes:
        at: position in the source.
        rows: how many were stored.
        refused: how many the server has no way to hold.
        too_old: how many were older than what the bucket keeps.
        first: moment of the first row, milliseconds since the epoch; None if there was none.
        last: moment of the last one.
        newest_too_old: moment of the newest row that was too old.
        summed_up_to: moment up to which minutes were summed up.
    """

    at: int
    rows: int = 0
    refused: int = 0
    too_old: int = 0
    first: int | None = None
    last: int | None = None
    newest_too_old: int | None = None
    summed_up_to: int | None = None


class _File(Struct):
    """What stands in the file.

    Attributes:
        source: path of the source.
        identity: of what is there.
        target: address, organisation and bucket.
        bucket: id of the bucket; None if it could not be seen.
        parts: positions by name.
    """

    source: str
    identity: str
    target: tuple[str, str, str]
    bucket: str | None
    parts: dict[str, Position]


class Positions:
    """How far each part of a source has come on its way to a bucket.

    Args:
        directory: where the file is kept; made when it is needed.
        source: path of the source.
        identity: of what is there; positions in something else are not taken up.
        target: address, organisation and bucket.
        bucket: id of the bucket; those of another one are not taken up. None if it cannot be seen.
    """

    def __init__(
        self, directory: Path, *, source: Path, identity: str, target: tuple[str, str, str], bucket: str | None
    ) -> None:
        name = hashlib.sha256("\n".join((str(source), *target)).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.path = directory / f"{name}.json"
        self._file = _File(os.fsencode(source).decode("utf-8", "replace"), identity, target, bucket, {})

    @property
    def resumed(self) -> bool:
        """Whether something was moved before."""
        return bool(self._file.parts)

    def load(self) -> None:
        """Take up what an earlier run has kept, if it is of the same source and bucket.

        Raises:
            HostpulseError: it cannot be read.
        """
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=_File)
        except FileNotFoundError:
            return
        except msgspec.MsgspecError:
            return  # of another version, or cut off by a full disk: to begin again is always right
        except OSError as error:
            raise self._failed(error) from None
        new = self._file
        same_bucket = found.bucket is None or new.bucket is None or found.bucket == new.bucket
        if (found.identity, found.target) == (new.identity, new.target) and same_bucket:
            new.parts = found.parts
            new.bucket = new.bucket or found.bucket

    def of(self, part: str, start: int) -> Position:
        """Return the position of a part, to be changed and then saved; a new one is at its start."""
        return self._file.parts.setdefault(part, Position(start))

    def save(self) -> None:
        """Keep all positions.

        Raises:
            HostpulseError: they cannot be written.
        """
        partial = self.path.with_suffix(".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(msgspec.json.encode(self._file))
            partial.replace(self.path)
        except OSError as error:
            raise self._failed(error) from None

    def forget(self) -> None:
        """Remove the file: what comes next begins again.

        Raises:
            HostpulseError: it cannot be removed.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> HostpulseError:
        return HostpulseError(
            f"progress cannot be kept in {self.path} ({error.strerror or error}); make that writable, or set data_dir"
        )
