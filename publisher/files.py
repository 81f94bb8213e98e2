"""Reading the small text files of /proc and /sys, fast and without surprises."""

import os

__all__ = ["LONGEST_TEXT", "OpenFile", "list_directory", "read_bytes", "read_int", "read_line", "read_text"]

_READ_BYTES = 65536
# The kernel hands out long files in pieces of up to a page that end with a whole line, so a piece that leaves this
# much of a page free was the last one, and the read that would only say so is spared.
_LAST_PIECE_BYTES = 3072
_LARGEST = 2**63 - 1

LONGEST_TEXT = 1024
"""Characters of a text in a message."""


class OpenFile:
    """A file of /proc or /sys that is read again and again; its descriptor stays open.

    Args:
        path: where it is; opened at the first reading.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None

    def read(self) -> bytes:
        """Return the whole content as it is now.

        Raises:
            OSError: it is not there or cannot be read; the next call opens it anew.
        """
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(self._descriptor, _READ_BYTES, 0)
            length = len(data)
            if length < _LAST_PIECE_BYTES:
                return data
            pieces = [data]
            while piece := os.pread(self._descriptor, _READ_BYTES, length):
                pieces.append(piece)
                length += len(piece)
        except OSError:
            self.close()
            raise
        return b"".join(pieces)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    __del__ = close


def read_bytes(path: str) -> bytes | None:
    """Return the content of a file; None where it is not there or its driver gives no answer."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  pathlib costs more than the read
            return file.read()
    except OSError:
        return None


def read_text(path: str) -> str | None:
    """Return the content of a file without surrounding space; None where there is none."""
    data = read_bytes(path)
    return None if data is None else data.decode("utf-8", "replace").replace("\0", "").strip() or None


def read_line(path: str) -> str | None:
    """Return the first line of a file as a message can hold it; None where there is none."""
    text = read_text(path)
    return None if text is None else text.splitlines()[0][:LONGEST_TEXT]


def read_int(path: str) -> int | None:
    """Return the number in a file; None where there is none, or none that a register or counter could hold."""
    data = read_bytes(path)
    try:
        number = None if data is None else int(data)
    except ValueError:
        return None
    return number if number is not None and abs(number) <= _LARGEST else None


def list_directory(path: str) -> list[str]:
    """Return the names in a directory in order, numbers in their names by value; nothing where it is not there."""
    try:
        return sorted(os.listdir(path), key=_natural)  # noqa: PTH208
    except OSError:
        return []


def _natural(name: str) -> tuple[str, int, str]:
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    return (stem, int(digits or 0), name)
