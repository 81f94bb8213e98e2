"""Batches that are taken in the background: acknowledged in their order, and not before they are safe."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostpulse.bus.mqtt import Taking
from hostpulse.bus.mqtt.intake import Intake

from .clients import Collector, Feeder, eventually, numbered, subscribe_and_leave
from .proxy import Proxy
from .test_receiver import acknowledged, brought, delivered

BATCH = 3


class Background:
    """Takes batches and leaves it to the test when each is done."""

    def __init__(self):
        self.now = 100.0
        self.woken = 0
        self.given = []
        self.retained = []
        self.works = []
        self.stored = []
        self.at_once = False
        self.refuses = None
        self.sent = 0
        self.since = 0  # what was sent in connections before this one
        self.intake = Intake(
            self.take, batch_messages=BATCH, linger_seconds=0.5, clock=lambda: self.now, wake=self.wake
        )

    def wake(self):
        self.woken += 1

    def take(self, batch):
        if self.refuses is not None:
            raise self.refuses
        payloads = list(batch.payloads)
        if self.at_once:
            self.stored += payloads
            return None
        work = Future()
        self.given.append(payloads)
        self.retained.append(set(batch.retained))
        self.works.append(work)

        def finish():
            work.result()
            self.stored += payloads

        return Taking(work, finish)

    def come(self, *numbers, retained=False):
        for number in numbers:
            if retained:
                self.intake.batch.retained.add(len(self.intake.batch.topics))
            self.intake.batch.topics.append(b"t/x")
            self.intake.batch.payloads.append(b"%d" % number)
            self.intake.identifiers.append(b"%d" % number)
            self.intake.size += 10
        self.intake.arrived()

    def work(self):
        return [int(identifier) for identifier in self.intake.work()]

    def drain(self):
        return [int(identifier) for identifier in self.intake.drain()]

    @property
    def waiting(self):
        return [work for work in self.works if not work.done()]


@pytest.fixture
def background():
    return Background()


def test_the_next_batch_is_given_away_while_one_is_waited_for(background):
    background.come(1, 2, 3)
    assert background.work() == []
    background.come(4, 5, 6)
    assert background.work() == []
    assert background.given == [[b"1", b"2", b"3"], [b"4", b"5", b"6"]]
    background.works[0].set_result(None)
    assert background.woken == 1
    assert background.work() == [1, 2, 3]
    background.works[1].set_result(None)
    assert background.work() == [4, 5, 6]
    assert background.intake.empty


def test_what_is_done_early_waits_for_its_turn(background):
    background.come(1, 2, 3)
    background.work()
    background.come(4, 5, 6)
    background.work()
    background.works[1].set_result(None)
    assert background.work() == []
    background.works[0].set_result(None)
    assert background.work() == [1, 2, 3, 4, 5, 6]


def test_what_is_taken_at_once_waits_for_its_turn_too(background):
    background.come(1, 2, 3)
    background.work()
    background.at_once = True
    background.come(4, 5, 6)
    assert background.work() == []
    background.works[0].set_result(None)
    assert background.work() == [1, 2, 3, 4, 5, 6]
    background.come(7, 8, 9)
    assert background.work() == [7, 8, 9]


def test_a_failure_makes_one_batch_of_all_that_is_in_hand(background):
    background.come(1, 2)
    background.come(3, retained=True)
    background.work()
    background.come(4, 5)
    background.come(6, retained=True)
    background.work()
    background.come(7)
    background.come(8, retained=True)
    background.works[1].set_result(None)
    background.works[0].set_exception(OSError("no space left"))
    assert background.work() == []
    assert background.intake.failing
    assert background.stored == []
    assert background.work() == [], "it must not be tried again at once"
    background.now += 60
    assert background.work() == []
    assert background.given[2] == [b"%d" % number for number in range(1, 9)]
    assert background.retained[2] == {2, 5, 7}
    background.works[2].set_result(None)
    assert background.work() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not background.intake.failing


def test_a_batch_that_cannot_even_be_begun_leaves_the_one_before_it_alone(background):
    background.come(1, 2, 3)
    background.work()
    background.refuses = OSError("not now")
    background.come(4, 5, 6)
    assert background.work() == []
    background.works[0].set_result(None)
    assert background.work() == [1, 2, 3]
    background.refuses = None
    background.now += 60
    background.work()
    assert background.given == [[b"1", b"2", b"3"], [b"4", b"5", b"6"]]


def test_a_failing_store_is_given_one_batch_at_a_time(background):
    background.come(1, 2, 3)
    background.work()
    background.works[0].set_exception(OSError("no space left"))
    background.work()
    background.now += 60
    background.work()
    background.come(4)
    background.now += 60
    assert background.intake.due() is None
    background.work()
    assert len(background.given) == 2


def test_two_are_in_hand_and_the_third_grows(background):
    for first in (1, 4):
        background.come(first, first + 1, first + 2)
        background.work()
    background.come(7)
    background.now += 60
    assert background.intake.due() is None
    background.come(8, 9)
    assert background.intake.due() is not None
    done = threading.Timer(0.05, background.works[0].set_result, (None,))
    done.start()
    assert background.work() == [1, 2, 3], "a full batch waits for those before it"
    done.join()
    assert background.given[2] == [b"7", b"8", b"9"]


def test_a_full_batch_behind_a_failure_is_not_given_away_before_its_time(background):
    for first in (1, 4):
        background.come(first, first + 1, first + 2)
        background.work()
    background.come(7, 8, 9)
    background.works[1].set_result(None)
    threading.Timer(0.05, background.works[0].set_exception, (OSError("gone"),)).start()
    assert background.work() == []
    assert len(background.given) == 2
    background.now += 60
    background.work()
    assert len(background.given[2]) == 9


def test_identifiers_of_the_connection_before_are_not_acknowledged(background):
    background.come(1, 2, 3)
    background.work()
    background.intake.restart()
    background.come(1, 2, 3)
    background.works[0].set_result(None)
    assert background.work() == []
    background.works[1].set_result(None)
    assert background.work() == [1, 2, 3]


def test_a_failing_store_is_overfull_with_what_it_was_given(background):
    background.come(*range(6 * BATCH))
    background.work()
    background.works[0].set_exception(OSError("no space left"))
    background.work()
    background.now += 60
    background.work()
    assert not background.intake.overfull
    background.come(*range(2 * BATCH))
    assert background.intake.overfull


def test_the_end_waits_for_all_of_it(background):
    background.come(1, 2, 3)
    background.work()
    background.come(4)
    background.works[0].set_result(None)
    background.at_once = True
    assert background.drain() == [1, 2, 3, 4]
    assert background.intake.empty


def test_the_end_does_not_try_again_what_has_just_failed(background):
    background.come(1, 2, 3)
    background.work()
    background.come(4)
    background.works[0].set_exception(OSError("no space left"))
    assert background.drain() == []
    assert len(background.given) == 1


STEPS = st.lists(st.sampled_from(["come", "done", "last done", "fail", "restart", "time"]), max_size=60)


def happen(background, step):
    """Let something happen, if it can."""
    waiting = background.waiting
    if step == "come" and not background.intake.full:
        background.come(background.sent)
        background.sent += 1
    elif step == "done" and waiting:
        waiting[0].set_result(None)
    elif step == "last done" and waiting:
        waiting[-1].set_result(None)
    elif step == "fail" and waiting:
        waiting[0].set_exception(OSError("no"))
    elif step == "restart":
        background.intake.restart()
        background.since = background.sent
    elif step == "time":
        background.now += 60


@given(STEPS)
def test_whatever_happens_what_is_acknowledged_is_stored_and_in_order(steps):
    background = Background()
    acknowledged = []
    for step in steps:
        happen(background, step)
        if not (background.intake.full and len(background.waiting) == 2):  # it would wait for ever
            acknowledged += background.work()
        assert {b"%d" % number for number in acknowledged} <= set(background.stored)
        assert acknowledged == sorted(set(acknowledged))
    background.at_once = True
    for work in background.waiting:
        work.set_result(None)
    acknowledged += background.drain() + background.drain()  # the first may find a failure
    assert {b"%d" % number for number in range(background.sent)} == set(background.stored)
    assert set(range(background.since, background.sent)) <= set(acknowledged)


class Backgrounding(Collector):
    """Takes in a thread, which fails when it is told to."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.worker = ThreadPoolExecutor(1)
        self.store = lambda _batch: None

    def take(self, batch):
        work = self.worker.submit(self.store, batch)

        def finish():
            work.result()
            super(Backgrounding, self).take(batch)

        return Taking(work, finish)


def test_a_queue_is_taken_in_the_background(broker):
    subscribe_and_leave(broker.options("store"))
    sent = numbered(3000, size=200)
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(sent)
    with Proxy(broker.port) as proxy:
        collector = Backgrounding(broker.options("store", port=proxy.port), batch_messages=100)
        with collector:
            eventually(lambda: len(collector.payloads) >= len(sent))
        [talk] = proxy.conversations
        assert acknowledged(talk) == delivered(talk)
        assert collector.payloads == brought(talk)
    assert sorted(collector.payloads) == sent


def test_what_fails_in_the_background_comes_again(broker):
    subscribe_and_leave(broker.options("store"))
    sent = numbered(500, size=200)
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(sent)
    collector = Backgrounding(broker.options("store"), batch_messages=100)
    calls = iter([True, False, False, True])

    def store(_batch):
        if next(calls, False):
            raise OSError("the database is away")

    collector.store = store
    with collector:
        eventually(lambda: len(set(collector.payloads)) >= len(sent))
    assert collector.payloads == sent


def test_a_long_wait_for_the_store_does_not_end_the_connection(broker):
    """While something is taken in the background the broker is answered, and asked whether it is there."""
    subscribe_and_leave(broker.options("store"))
    leave = threading.Event()
    collector = Backgrounding(broker.options("store", keepalive_seconds=1))
    collector.store = lambda _batch: assert_left(leave)
    with collector, Feeder(broker.options("feeder")) as feeder:
        feeder.send(numbered(3))
        assert not leave.wait(5)
        assert collector.receiver.connected
        leave.set()
        eventually(lambda: set(collector.payloads) == set(numbered(3)))  # nats-server may have sent them again
        assert collector.receiver.connections == 1


def assert_left(leave):
    assert leave.wait(90)
