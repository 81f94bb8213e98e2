"""A copy of a machine's tree, of which some files change."""

import shutil
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Tree"]


class Tree:
    """Files that are written only where their content has changed; in place, for collectors keep descriptors open.

    Args:
        source: what is copied.
        root: where to.
    """

    def __init__(self, source: Path, root: Path) -> None:
        shutil.copytree(source, root, symlinks=True)
        self.root = root
        self._shown: dict[str, str] = {}
        self._made: set[str] = set()

    def read(self, path: str) -> str:
        """Return the content of a file."""
        return (self.root / path).read_text()

    def lines(self, path: str) -> list[str]:
        """Return the lines of a file."""
        return self.read(path).splitlines()

    def show(self, files: Mapping[str, object]) -> None:
        """Make files and change them; what was made for an earlier call and is not in this one goes again.

        Args:
            files: contents by path; None for a file that is not there.
        """
        for path, content in files.items():
            if content is None:
                (self.root / path).unlink(missing_ok=True)
                self._shown.pop(path, None)
            elif self._shown.get(path) != str(content):
                self._write(path, str(content))
        for path in self._made - files.keys():
            self._remove(path)

    def _write(self, path: str, text: str) -> None:
        target = self.root / path
        if path not in self._shown and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(path)
        target.write_text(text)
        self._shown[path] = text

    def _remove(self, path: str) -> None:
        """Remove a file, and the directories that were made for it."""
        target = self.root / path
        target.unlink(missing_ok=True)
        while not any(target.parent.iterdir()):
            target = target.parent
            target.rmdir()
        self._made.discard(path)
        self._shown.pop(path, None)
