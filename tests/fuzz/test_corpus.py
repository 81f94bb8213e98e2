"""Every input that was ever worth keeping, and changes of them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .targets import CORPUS, TARGETS

ENTRIES = [(name, path) for name in TARGETS for path in sorted((CORPUS / name).iterdir())]
PIECES = st.binary(max_size=20) | st.sampled_from(
    [
        *(
            b"\0",
            b"\n",
            b"\x1b[2J",
            b"\xff\xfe",
            b"\xed\xa0\x80",
            b"\\ud800",
            b"\\u0000",
            b"\xe2\x80\xae",
            b"=1+1",
            b'"',
        ),
        *(
            b"1e999",
            b"-0",
            b"NaN",
            b"9223372036854775808",
            b"1" * 400,
            b"0001-01-01T00:00:00Z",
            b"9999-12-31T23:59:59Z",
        ),
        *(b"[" * 2000, b'{"":' * 500, b"null", b"true", b"{}", b"[]", b"../", b"+", b"#", b"$SYS", b"/"),
    ]
)


@st.composite
def changed(draw: st.DrawFn, entries: list[bytes]) -> bytes:
    """Draw an entry with some pieces replaced, cut out or repeated; or anything."""
    data = draw(st.sampled_from(entries) | st.binary(max_size=200))
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, len(data)))
        end = draw(st.integers(begin, min(len(data), begin + 40)))
        data = data[:begin] + draw(PIECES | st.just(data[begin:end] * 2)) + data[end:]
    return data


@pytest.mark.parametrize(("name", "path"), ENTRIES, ids=[f"{name}-{path.name}" for name, path in ENTRIES])
def test_every_entry(name: str, path: Path) -> None:
    TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_changes_of_entries(name: str) -> None:
    entries = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    target = TARGETS[name]

    @settings(max_examples=150, deadline=None, database=None)
    @given(data=changed(entries))
    def check(data: bytes) -> None:
        target(data)

    check()
