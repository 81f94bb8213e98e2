from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hostpulse.publisher.outbox.ranges import Ranges

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=30)


@given(PAIRS, st.integers(0, 60), st.integers(0, 60))
def test_it_is_a_set(pairs: list[tuple[int, int]], low: int, high: int) -> None:
    ranges, model = Ranges(), set[int]()
    for first, end in pairs:
        ranges.add(first, end)
        model |= set(range(first, end))
        assert ranges.total == len(model)
    assert {number for first, end in ranges for number in range(first, end)} == model
    listed = list(ranges)
    # as few as there can be, and in order
    assert all(before[1] < after[0] for before, after in pairwise(listed))
    assert len(ranges) == len(listed)
    assert [number in ranges for number in range(61)] == [number in model for number in range(61)]
    assert ranges.first_missing(low) == next(number for number in range(low, 200) if number not in model)
    assert ranges.count(low, max(low, high)) == len(model & set(range(low, high)))
    missing = {number for first, end in ranges.missing(low, high) for number in range(first, end)}
    assert missing == set(range(low, high)) - model
