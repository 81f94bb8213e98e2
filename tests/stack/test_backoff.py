from hostpulse.stack.backoff import Backoff


def test_the_ceiling_doubles_up_to_the_longest():
    backoff = Backoff(first=1, longest=5, random=lambda: 1.0)
    assert [backoff.delay(0) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_the_jitter_is_full():
    parts = iter((0.0, 0.5, 0.25))
    backoff = Backoff(first=1, longest=60, random=lambda: next(parts))
    assert [backoff.delay(0) for _ in range(3)] == [0, 1, 1]


def test_a_healthy_run_starts_over():
    backoff = Backoff(first=1, longest=60, healthy=10, random=lambda: 1.0)
    assert [backoff.delay(ran) for ran in (0, 9, 10, 0)] == [1, 2, 1, 2]
