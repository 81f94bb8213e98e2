import os
from pathlib import Path

import pytest

from hostpulse.publisher import files
from hostpulse.publisher.files import OpenFile, list_directory, read_bytes, read_int, read_line, read_text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize("size", [0, 1, 3071, 3072, 4096, 65535, 65536, 65537, 200_000])
def test_whole_content_whatever_its_size(path: Path, size: int) -> None:
    path.write_bytes(os.urandom(size))
    file = OpenFile(str(path))
    assert file.read() == path.read_bytes()
    assert file.read() == path.read_bytes()
    file.close()


def test_file_that_grows_and_shrinks(path: Path) -> None:
    path.write_bytes(b"a" * 10)
    file = OpenFile(str(path))
    for size in (10, 70_000, 140_000, 5, 0, 4000):
        path.write_bytes(b"b" * size)  # the same inode
        assert file.read() == b"b" * size
    file.close()


def test_kernel_that_hands_out_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long file of /proc comes in pieces of up to a page that end with a line."""
    lines = [f"counter_{number} {number * 12345}\n".encode() for number in range(1000)]
    content = b"".join(lines)
    path.write_bytes(content)
    reads = []

    def pread(_descriptor: int, _size: int, offset: int) -> bytes:
        reads.append(offset)
        end = offset
        for line in content[offset : offset + 5000].splitlines(keepends=True):
            if end + len(line) - offset > 4096:
                break
            end += len(line)
        return content[offset:end]

    monkeypatch.setattr(files.os, "pread", pread)
    file = OpenFile(str(path))
    assert file.read() == content
    assert len(reads) > len(content) // 4096
    content = b"".join(lines[:50])
    reads.clear()
    assert file.read() == content
    assert reads == [0]  # it was so short that nothing can follow
    file.close()


def test_descriptor_stays_open_and_is_given_back(path: Path) -> None:
    path.write_text("1")

    def descriptors() -> set[str]:
        return {path.name for path in Path("/proc/self/fd").iterdir()}

    before = descriptors()
    file = OpenFile(str(path))
    assert descriptors() == before
    for _ in range(3):
        file.read()
    assert len(descriptors() - before) == 1
    file.close()
    file.close()
    assert descriptors() == before
    file.read()
    del file
    assert descriptors() == before


def test_missing_file_is_opened_once_it_is_there(path: Path) -> None:
    file = OpenFile(str(path))
    with pytest.raises(FileNotFoundError):
        file.read()
    path.write_text("there")
    assert file.read() == b"there"
    file.close()


def test_file_that_stops_answering_is_opened_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a driver that was unloaded leaves behind answers ENODEV for ever."""
    path.write_text("old")
    file = OpenFile(str(path))
    assert file.read() == b"old"
    path.unlink()
    path.write_text("new")
    with monkeypatch.context() as patch:

        def pread(*_: object) -> bytes:
            raise OSError(19, "No such device")

        patch.setattr(files.os, "pread", pread)
        with pytest.raises(OSError, match="No such device"):
            file.read()
    assert file.read() == b"new"
    file.close()


def test_readers_of_what_is_not_there(path: Path) -> None:
    assert read_bytes(str(path)) is None
    assert read_text(str(path)) is None
    assert read_line(str(path)) is None
    assert read_int(str(path)) is None
    assert list_directory(str(path)) == []
    assert read_bytes(str(path.parent)) is None  # a directory


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (b"42\n", 42),
        (b" -7 \n", -7),
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", None),
        (b"", None),
        (b"max\n", None),
        (b"0x10", None),
        (b"1.5", None),
        (b"\xff", None),
        (b"1 2", None),
        (b"9" * 10_000, None),
    ],
)
def test_number_in_a_file(path: Path, content: bytes, number: int | None) -> None:
    path.write_bytes(content)
    assert read_int(str(path)) == number


@pytest.mark.parametrize(
    ("content", "text"), [(b"\n", None), (b"\0", None), (b" a b \n", "a b"), (b"a\0\n", "a"), (b"\xff", "\ufffd")]
)
def test_text_in_a_file(path: Path, content: bytes, text: str | None) -> None:
    path.write_bytes(content)
    assert read_text(str(path)) == text
    assert read_line(str(path)) == text


def test_line_in_a_file(path: Path) -> None:
    path.write_text("x" * 3000 + "\nsecond\n")
    assert read_line(str(path)) == "x" * 1024


def test_directory_in_order_of_numbers(tmp_path: Path) -> None:
    for name in ("cpu10", "cpu2", "cpu", "zone1", "cpu0"):
        (tmp_path / name).touch()
    assert list_directory(str(tmp_path)) == ["cpu", "cpu0", "cpu2", "cpu10", "zone1"]
