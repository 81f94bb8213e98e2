"""A lease in a real InfluxDB 2, and in a real InfluxDB 3; the clocks are the test's."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from hostpulse.bus.codec import Sample
from hostpulse.consumer.storage import StorageError
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader, InfluxWriter
from hostpulse.consumer.storage.influxdb.lease import InfluxLease


class Clock:
    """Wall clock and monotonic clock of all, moved by hand; it begins now, for retention counts from now."""

    def __init__(self) -> None:
        self.seconds = time.time()

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["influx", "influx3"])
def options(request: pytest.FixtureRequest) -> InfluxOptions:
    """A bucket of either kind of server."""
    request.getfixturevalue(f"{request.param}_writer")  # it makes the bucket
    found: InfluxOptions = request.getfixturevalue(f"{request.param}_options")
    return found


@pytest.fixture
def leases(options: InfluxOptions, clock: Clock) -> Iterator[list[InfluxLease]]:
    made = [InfluxLease(options, name="group", owner=f"owner {one}", wall=clock, clock=clock) for one in "abc"]
    yield made
    for one in made:
        one.close()


def holders(leases: list[InfluxLease], clock: Clock, seconds: float) -> list[list[bool]]:
    """Return who had it at each step of 5 seconds; they do not ask at the very same moment."""
    found = []
    for _ in range(round(seconds / 5)):
        row = []
        for one in leases:
            clock.seconds += 0.01
            row.append(one.hold())
        found.append(row)
        clock.seconds += 5
    return found


def test_one_has_it_and_keeps_it(leases: list[InfluxLease], clock: Clock) -> None:
    rows = holders(leases, clock, 300)
    assert rows[0] == [False, False, False], "nobody has it before it was read back"
    assert all(sum(row) == 1 for row in rows[2:])
    assert all(row == rows[2] for row in rows[2:])


def test_what_has_run_out_is_taken_over_and_what_was_given_back_at_once(
    leases: list[InfluxLease], clock: Clock
) -> None:
    first = holders(leases, clock, 20)[-1].index(True)
    others = [one for one in leases if one is not leases[first]]
    rows = holders(others, clock, 120)  # the first one is gone
    taken = [sum(row) for row in rows]
    assert taken[0] == 0
    assert taken[-1] == 1
    assert max(taken) == 1
    second = others[rows[-1].index(True)]
    second.close()
    [last] = [one for one in others if one is not second]
    assert [sum(row) for row in holders([last], clock, 15)][-1] == 1


def test_leases_of_other_names_do_not_matter(leases: list[InfluxLease], options: InfluxOptions, clock: Clock) -> None:
    other = InfluxLease(options, name="other", owner="d", wall=clock, clock=clock)
    rows = holders([leases[0], other], clock, 20)
    assert rows[-1] == [True, True]
    other.close()


def test_a_point_from_a_clock_that_is_far_ahead_holds_nothing(options: InfluxOptions, clock: Clock) -> None:
    ahead = Clock()
    ahead.seconds += 3600
    wrong = InfluxLease(options, name="group", owner="wrong", wall=ahead, clock=ahead)
    assert wrong.hold() is False
    right = InfluxLease(options, name="group", owner="right", wall=clock, clock=clock)
    assert holders([right], clock, 30)[-1] == [True]
    wrong.close()
    right.close()


def test_a_lease_is_no_host(leases: list[InfluxLease], options: InfluxOptions, sample: Callable[..., Sample]) -> None:
    leases[0].hold()
    with InfluxWriter(options, retention=None, rollup_retention=None) as writer, InfluxReader(options) as reader:
        writer.write([sample("cpu", round(time.time() * 1000), "alpha", user_percent=1.0)])
        assert [host.name for host in reader.hosts()] == ["alpha"]
        assert writer.hosts(time.time()) == {"alpha"}


def test_without_the_right_to_read_nobody_has_it(options: InfluxOptions, clock: Clock) -> None:
    wrong = replace(options, token="wrong")
    with InfluxLease(wrong, name="group", owner="a", wall=clock, clock=clock) as lease, pytest.raises(StorageError):
        lease.hold()
