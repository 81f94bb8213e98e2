from hostpulse.bus.backoff import Backoff


def test_the_bound_doubles_up_to_the_most_and_starts_over():
    backoff = Backoff(first=1, most=5, uniform=lambda _low, high: high)
    assert [backoff.delay() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.delay() == 1


def test_the_jitter_is_full():
    bounds = []
    backoff = Backoff(first=1, most=60, uniform=lambda low, high: bounds.append((low, high)) or 0.0)
    assert [backoff.delay() for _ in range(3)] == [0, 0, 0]
    assert bounds == [(0, 1), (0, 2), (0, 4)]
