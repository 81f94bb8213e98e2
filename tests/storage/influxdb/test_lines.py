from hypothesis import given
from hypothesis import strategies as st

from hostpulse.consumer.storage.influxdb.lines import Lines

LINE = st.binary(min_size=1, max_size=9).map(lambda line: line.replace(b"\n", b"_"))


@given(st.lists(st.lists(LINE, max_size=4), max_size=5), st.data())
def test_lines_that_were_added_in_pieces_are_those_lines(pieces: list[list[bytes]], data: st.DataObject) -> None:
    lines, expected = Lines(), list[bytes]()
    for piece in pieces:
        lines.add(piece)
        expected += piece
        assert list(lines) == expected  # also between two pieces
    assert len(lines) == len(expected)
    assert lines.body(range(len(expected))) == b"\n".join(expected)
    assert lines.size == len(b"\n".join(expected))
    part = data.draw(st.lists(st.sampled_from(range(len(expected))), unique=True)) if expected else []
    if len(part) < len(expected):
        assert lines.body(part) == b"\n".join([expected[index] for index in part])
