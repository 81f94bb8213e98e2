"""The receiver against real brokers: nothing lost, nothing acknowledged before it was taken."""

import os
import signal
import threading
import time
from collections import Counter

import pytest

from hostpulse.bus.backoff import Backoff
from hostpulse.bus.mqtt import Receiver

from ..attempts import some_attempts
from .clients import Collector, Feeder, eventually, numbered, parse_packets, subscribe_and_leave
from .proxy import Conversation, Proxy

PUBLISH, PUBACK = 0x30, 0x40


def messages(talk: Conversation) -> list[tuple[bytes, bytes]]:
    """Packet identifier and payload of the QoS 1 messages that the broker sent, in their order on the wire."""
    bodies = [
        body for first, body in parse_packets(bytes(talk.from_broker)) if first & 0xF0 == PUBLISH and first & 6 == 2
    ]
    rests = [body[2 + int.from_bytes(body[:2], "big") :] for body in bodies]
    return [(rest[:2], rest[2:]) for rest in rests]


def delivered(talk: Conversation) -> list[bytes]:
    return [identifier for identifier, _ in messages(talk)]


def brought(talk: Conversation) -> list[bytes]:
    """Payloads in their order on the wire; what NATS sent to a connection that was just ending comes later."""
    return [payload for _, payload in messages(talk)]


def acknowledged(talk: Conversation) -> list[bytes]:
    return [body for first, body in parse_packets(bytes(talk.from_client)) if first & 0xF0 == PUBACK]


def assert_nothing_is_left(broker, client_id: str) -> None:
    """A later connection of the session gets nothing but what is new."""
    with (
        Collector(broker.options(client_id), linger_seconds=0.01) as collector,
        Feeder(broker.options("last")) as feeder,
    ):
        feeder.send([b"last"])
        eventually(lambda: b"last" in collector.payloads)
    assert collector.payloads == [b"last"]


def test_a_queue_comes_once_in_order_and_leaves_nothing_behind(broker):
    subscribe_and_leave(broker.options("store"))
    sent = numbered(5000, size=393)
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(sent)
    with Proxy(broker.port) as proxy:
        options = broker.options("store", port=proxy.port)
        with Collector(options, batch_messages=300) as collector:
            eventually(lambda: len(collector.payloads) >= len(sent))
        [talk] = proxy.conversations
        assert acknowledged(talk) == delivered(talk)
        assert collector.payloads == brought(talk)
    assert sorted(collector.payloads) == sent
    assert set(collector.topics) == {b"t/x"}
    assert max(len(batch.topics) for batch in collector.batches) > 100
    assert_nothing_is_left(broker, "store")


def test_nothing_is_acknowledged_before_it_is_taken(broker):
    entered, leave = threading.Event(), threading.Event()

    class Slow(Collector):
        def take(self, batch):
            entered.set()
            leave.wait(10)
            super().take(batch)

    with (
        Proxy(broker.port) as proxy,
        Slow(broker.options("store", port=proxy.port)),
        Feeder(broker.options("feeder")) as feeder,
    ):
        feeder.send(numbered(10))
        assert entered.wait(90)
        assert acknowledged(proxy.conversations[0]) == []
        leave.set()
        eventually(lambda: len(acknowledged(proxy.conversations[0])) == 10)


def test_what_cannot_be_stored_comes_again_and_is_not_acknowledged(broker, caplog):
    with Proxy(broker.port) as proxy:
        collector = Collector(broker.options("store", port=proxy.port))
        mended = threading.Event()
        collector.fail = lambda: not mended.is_set()
        with collector, Feeder(broker.options("feeder")) as feeder:
            feeder.send(numbered(30))
            eventually(lambda: collector.failures >= 2)
            assert acknowledged(proxy.conversations[0]) == []
            mended.set()
            eventually(lambda: len(collector.payloads) >= 30)
            eventually(lambda: len(acknowledged(proxy.conversations[0])) >= 30)
    assert sorted(set(collector.payloads)) == numbered(30)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "what has come cannot be stored: the disk is full (nothing is acknowledged; trying again)"
    ]


def test_a_store_that_fails_until_the_end_leaves_all_of_it_with_the_broker(broker):
    subscribe_and_leave(broker.options("store"))
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(numbered(50))
    failing = Collector(broker.options("store"))
    failing.fail = lambda: True
    with failing:
        eventually(lambda: failing.failures)
    with Collector(broker.options("store")) as collector:
        eventually(lambda: len(set(collector.payloads)) >= 50)
    assert sorted(set(collector.payloads)) == numbered(50)


def test_a_failing_store_does_not_fill_the_memory(make_broker):
    broker = make_broker("mosquitto", window=0)
    subscribe_and_leave(broker.options("store"))
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(numbered(4000, size=100))
    collector = Collector(broker.options("store"), batch_messages=10)
    largest, working = [], threading.Event()

    def fail():
        largest.append(len(collector.receiver._intake.batch.topics))
        return not working.is_set()

    collector.fail = fail
    with collector:
        eventually(lambda: collector.receiver.trouble is not None)
        assert "cannot be stored" in str(collector.receiver.trouble)
        working.set()
        eventually(lambda: len(set(collector.payloads)) >= 4000)
    assert max(largest) < 1000
    assert sorted(set(collector.payloads)) == numbered(4000, size=100)


def test_a_broker_that_is_killed_in_mid_stream_loses_nothing(make_broker, broker_kind):
    broker = make_broker(broker_kind, persistent=True, window=40)
    subscribe_and_leave(broker.options("store"))
    sent = numbered(600, size=200)
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(sent)

    class Slow(Collector):
        def take(self, batch):
            time.sleep(0.01)
            super().take(batch)

    with Slow(broker.options("store"), batch_messages=20) as collector:
        eventually(lambda: len(collector.payloads) > 100)
        broker.kill()
        broker.start()
        eventually(lambda: collector.receiver.connections == 2 and len(set(collector.payloads)) >= len(sent))
    assert set(collector.payloads) == set(sent)


def test_connections_that_break_in_mid_stream_lose_nothing_and_mix_no_identifiers(broker):
    subscribe_and_leave(broker.options("store"))
    sent = numbered(3000, size=200)
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(sent)
    with Proxy(broker.port) as proxy:
        proxy.break_after = 150_000
        with Collector(broker.options("store", port=proxy.port), batch_messages=100) as collector:
            eventually(lambda: len(proxy.conversations) >= 3)
            proxy.break_after = None
            eventually(lambda: len(set(collector.payloads)) >= len(sent))
        assert set(collector.payloads) == set(sent)
        for talk in proxy.conversations:
            assert not Counter(acknowledged(talk)) - Counter(delivered(talk))


def test_identifiers_of_an_old_connection_are_not_acknowledged_in_a_new_one(broker, monkeypatch):
    monkeypatch.setattr("hostpulse.bus.mqtt.intake.Backoff", lambda **_: Backoff(first=0.05, most=0.05))
    with Proxy(broker.port) as proxy, Feeder(broker.options("feeder")) as feeder:
        collector = Collector(broker.options("store", port=proxy.port))
        collector.fail = lambda: collector.receiver.connections < 2 or len(delivered(proxy.conversations[1])) < 30
        with collector:
            feeder.send(numbered(30))
            eventually(lambda: collector.failures)
            proxy.cut(proxy.conversations[0])
            eventually(lambda: len(collector.payloads) >= 60)
            eventually(lambda: len(acknowledged(proxy.conversations[1])) >= 30)
        first, second = proxy.conversations
    assert acknowledged(first) == []
    assert not Counter(acknowledged(second)) - Counter(delivered(second))


def test_a_stop_in_mid_stream_leaves_the_rest_to_the_next(broker):
    subscribe_and_leave(broker.options("store"))
    sent = numbered(20_000, size=200)
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(sent)
    with Collector(broker.options("store"), batch_messages=200) as first:
        eventually(lambda: len(first.payloads) > 1000)
    assert len(first.payloads) < len(sent), "it was no longer in mid-stream"
    with Collector(broker.options("store"), batch_messages=200) as second:
        eventually(lambda: len(set(first.payloads + second.payloads)) >= len(sent))
    assert set(first.payloads + second.payloads) == set(sent)
    # What was acknowledged at the stop has reached the broker: a reset would have eaten thousands of it.
    assert len(first.payloads + second.payloads) - len(sent) < 50


def test_the_session_keeps_what_comes_while_the_receiver_is_away(broker):
    with Collector(broker.options("store")):
        pass
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(numbered(100))
    with Collector(broker.options("store")) as collector:
        eventually(lambda: len(collector.payloads) >= 100)
    assert collector.payloads == numbered(100)


@pytest.mark.parametrize("window", [20, 3])
@some_attempts
def test_a_batch_larger_than_the_brokers_window_does_not_stall(make_broker, broker_kind, window):
    broker = make_broker(broker_kind, window=window)
    subscribe_and_leave(broker.options("store"))
    sent = numbered(20 * window)
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(sent)
    with Collector(broker.options("store"), batch_messages=500, linger_seconds=0.5) as collector:
        start = time.monotonic()
        eventually(lambda: len(collector.payloads) >= len(sent))
        seconds = time.monotonic() - start
    assert collector.payloads == sent
    assert seconds < 7, "each window waited the whole linger"  # which would be 10 s


def test_packets_may_be_split_anywhere(broker):
    subscribe_and_leave(broker.options("store"))
    sent = [b"x" * size for size in (0, 1, 2, 100, 120, 121, 122, 123, 124, 200, 300)] + numbered(10)
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(sent)
    with Proxy(broker.port, piece=1) as proxy, Collector(broker.options("store", port=proxy.port)) as collector:
        eventually(lambda: len(collector.payloads) >= len(sent))
        [talk] = proxy.conversations
        eventually(lambda: len(acknowledged(talk)) == len(sent))
    assert collector.payloads == sent


def test_large_messages(broker):
    sent = [os.urandom(100_000) for _ in range(200)]
    with Collector(broker.options("store")) as collector, Feeder(broker.options("feeder")) as feeder:
        feeder.send(sent)
        eventually(lambda: len(collector.payloads) >= len(sent))
    assert collector.payloads == sent
    assert_nothing_is_left(broker, "store")


def test_a_message_that_is_far_too_large_stops_no_other(make_broker, caplog):
    broker = make_broker("mosquitto")  # nats-server does not take it
    with Collector(broker.options("store")) as collector, Feeder(broker.options("feeder")) as feeder:
        feeder.send([b"before", b"x" * 5_000_000, b"after"])
        eventually(lambda: len(collector.payloads) >= 3)
        assert collector.receiver.connections == 1
    before, large, after = collector.payloads
    assert (before, after) == (b"before", b"after")
    assert large.strip(b"x") == b""
    assert 128 * 1024 < len(large) <= 1_200_000
    assert "a message of 5000" in caplog.text
    assert_nothing_is_left(broker, "store")


def test_retained_messages_are_marked(broker):
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send([b"kept without promise"], topic="t/zero", qos=0, retain=True)
        feeder.send([b"kept"], topic="t/kept", retain=True)  # acknowledged, so the broker has the one before as well
        with Collector(broker.options("store")) as collector:
            eventually(lambda: len(collector.payloads) >= 2)
            feeder.send([b"new"], topic="t/kept", retain=True)
            feeder.send([b"plain"])
            eventually(lambda: len(collector.payloads) >= 4)
    seen = dict(zip(collector.payloads, zip(collector.topics, collector.retained, strict=True), strict=True))
    assert seen == {
        b"kept": (b"t/kept", True),
        b"kept without promise": (b"t/zero", True),
        b"new": (b"t/kept", False),
        b"plain": (b"t/x", False),
    }
    assert_retained_only_comes_again(broker)


def assert_retained_only_comes_again(broker) -> None:
    with Collector(broker.options("other")) as collector:
        eventually(lambda: len(collector.payloads) >= 2)
    assert sorted(collector.payloads) == [b"kept without promise", b"new"]


def test_messages_without_a_promise_come_too(broker):
    with Collector(broker.options("store")) as collector, Feeder(broker.options("feeder")) as feeder:
        feeder.send(numbered(100), qos=0)
        feeder.send([b"one"])
        feeder.send([b""], qos=0)
        eventually(lambda: len(collector.payloads) >= 102)
    assert sorted(collector.payloads) == [b"", *numbered(100), b"one"]


def test_mqtt_5_behaves_the_same(make_broker):
    broker = make_broker("mosquitto")
    options = broker.options("store", protocol="5")
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send([b"kept"], topic="t/kept", retain=True)
        with Collector(options) as first:
            eventually(lambda: first.payloads)
        assert (first.payloads, first.retained) == ([b"kept"], [True])
        feeder.send(numbered(500))
        feeder.send([b"zero"], qos=0)  # the session keeps only what was promised
        feeder.send([b"x" * 3_000_000])  # larger than we say that we take: the broker leaves it out
    with Proxy(broker.port) as proxy:
        second = Collector(broker.options("store", protocol="5", port=proxy.port), batch_messages=50)
        mended = threading.Event()
        second.fail = lambda: not mended.is_set()
        with second:
            eventually(lambda: second.failures)
            assert not any(map(acknowledged, proxy.conversations))
            mended.set()
            eventually(lambda: len(set(second.payloads)) >= 500)
            # Of two connections, where so much waited to be stored that the first was given up.
            eventually(lambda: sum(len(acknowledged(talk)) for talk in proxy.conversations) >= 501)
    assert set(second.payloads) - {b"kept"} == set(numbered(500))


def test_mqtt_5_with_a_killed_broker(make_broker):
    broker = make_broker("mosquitto", persistent=True)
    options = broker.options("store", protocol="5")
    with Collector(options):
        pass
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(numbered(300))
    collector = Collector(options, batch_messages=20)
    collector.fail = lambda: time.sleep(0.01) or False
    with collector:
        eventually(lambda: len(collector.payloads) > 50)
        broker.kill()
        broker.start()
        eventually(lambda: len(set(collector.payloads)) >= 300)
    assert set(collector.payloads) == set(numbered(300))


def test_upkeep_that_raises_stops_nothing(broker, caplog):
    calls = []

    def idle():
        calls.append(None)
        raise ValueError("no upkeep today")

    with Collector(broker.options("store"), idle=idle, idle_seconds=0.05) as collector:
        eventually(lambda: len(calls) >= 3)
        with Feeder(broker.options("feeder")) as feeder:
            feeder.send([b"still there"])
        eventually(lambda: collector.payloads)
    assert [record.message for record in caplog.records].count("upkeep failed") == 1


@some_attempts
def test_the_broker_is_asked_while_it_is_silent_and_left_when_it_does_not_answer(make_broker, broker_kind, caplog):
    broker = make_broker(broker_kind)
    caplog.clear()
    with Collector(broker.options("store", keepalive_seconds=1)) as collector:
        time.sleep(2.2)  # silent, but there
        assert collector.receiver.connections == 1
        broker.freeze()
        frozen = time.monotonic()
        eventually(lambda: collector.receiver.trouble)
        assert time.monotonic() - frozen < 2.5 + 1
        assert "connection lost: it does not answer" in str(collector.receiver.trouble)
        broker.thaw()
        thawed = time.monotonic()
        eventually(lambda: collector.receiver.connected)
        assert time.monotonic() - thawed < 2 + 1
        with Feeder(broker.options("feeder")) as feeder:
            feeder.send([b"again"])
        eventually(lambda: collector.payloads)
    assert caplog.text.count("it does not answer") <= 2


@some_attempts
def test_a_long_take_does_not_cost_the_connection(broker):
    collector = Collector(broker.options("store", keepalive_seconds=1))
    collector.fail = lambda: time.sleep(0 if collector.batches else 2.2) or False
    with collector, Feeder(broker.options("feeder")) as feeder:
        feeder.send([b"first"])
        eventually(lambda: collector.payloads)
        feeder.send([b"second"])
        eventually(lambda: b"second" in collector.payloads)
        assert collector.receiver.connections == 1


@some_attempts
def test_it_returns_within_two_seconds_of_the_broker(make_broker, broker_kind):
    broker = make_broker(broker_kind, persistent=True)
    with Collector(broker.options("store")) as collector:
        broker.stop()
        time.sleep(1.5)
        broker.start()
        start = time.monotonic()
        eventually(lambda: collector.receiver.connections == 2)
        assert time.monotonic() - start < 2 + 0.5


def test_stop_before_run_and_while_nothing_listens(make_broker):
    broker = make_broker("mosquitto")
    receiver = Receiver(broker.options("store"), ["t/#"], lambda _batch: None)
    receiver.stop()
    receiver.run()
    assert receiver.connections == 0
    broker.kill()
    collector = Collector(broker.options("store"))
    collector.start()
    eventually(lambda: collector.receiver.trouble)
    collector.stop()


@some_attempts
def test_stop_from_a_signal_handler(broker):
    receiver = Receiver(broker.options("store"), ["t/#"], lambda _batch: None)
    previous = signal.signal(signal.SIGUSR1, lambda *_: receiver.stop())
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    try:
        start = time.monotonic()
        receiver.run()
        assert time.monotonic() - start < 5
        assert receiver.connections == 1
    finally:
        signal.signal(signal.SIGUSR1, previous)


SHARED = ("$share/group/t/#",)


def test_a_member_that_leaves_takes_what_is_kept_for_it_and_no_more_comes(make_broker):
    broker = make_broker("mosquitto", window=20)
    subscribe_and_leave(broker.options("one"), SHARED)
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(numbered(300))
        leaving = Collector(broker.options("one"), SHARED, leave=lambda: True, batch_messages=10)
        with leaving:
            pass  # it leaves as soon as it is connected
        assert leaving.payloads == numbered(300)
        assert leaving.receiver.left
        with Collector(broker.options("two"), SHARED) as two:
            feeder.send(numbered(50, start=300))
            eventually(lambda: len(two.payloads) >= 50)
    assert two.payloads == numbered(50, start=300)
    assert not two.receiver.left
    assert_nothing_is_left(broker, "one")


def test_a_member_that_cannot_take_what_is_kept_has_not_left(make_broker):
    broker = make_broker("mosquitto")
    subscribe_and_leave(broker.options("one"), SHARED)
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(numbered(3))
    stuck = Collector(broker.options("one"), SHARED, leave=lambda: True)
    stuck.fail = lambda: True
    with stuck:
        eventually(lambda: stuck.failures)
        assert stuck.receiver.failing
    assert not stuck.receiver.left
    with Collector(broker.options("one"), SHARED) as again:
        eventually(lambda: len(again.payloads) >= 3)


def test_it_says_when_the_broker_has_its_subscription(broker):
    told = []
    with Collector(broker.options("store"), subscribed=lambda: told.append(None)):
        eventually(lambda: told)


class Answering(Collector):
    """Publishes once more, on another topic, what it takes."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.sent = []

    def take(self, batch):
        super().take(batch)
        for payload in batch.payloads:
            self.sent.append(self.receiver.publish("answers/x", payload))


def test_what_it_publishes_arrives_and_disturbs_nothing(broker):
    protocols = ("3.1.1", "5") if broker.kind == "mosquitto" else ("3.1.1",)
    for protocol in protocols:
        with (
            Collector(broker.options("listener"), ["answers/#"]) as listener,
            Proxy(broker.port) as proxy,
            Answering(broker.options("store", port=proxy.port, protocol=protocol), batch_messages=10) as answering,
            Feeder(broker.options("feeder")) as feeder,
        ):
            for first in range(0, 90, 30):
                feeder.send(numbered(30, start=first))
                eventually(lambda first=first: len(listener.payloads) >= first + 30)
            eventually(lambda: len(acknowledged(proxy.conversations[0])) >= 90)
            assert acknowledged(proxy.conversations[0]) == delivered(proxy.conversations[0])
        assert answering.payloads == listener.payloads == numbered(90)
        assert all(answering.sent)
        assert_nothing_is_left(broker, "store")


def test_what_cannot_be_published_is_dropped_and_said(broker):
    collector = Answering(broker.options("store"))
    assert not collector.receiver.publish("answers/x", b"before run")
    with collector:
        idle = threading.Event()
        results = []

        def publish_without_a_broker():
            if not collector.receiver.connected and not idle.is_set():
                results.append(collector.receiver.publish("answers/x", b"lost"))
                idle.set()

        collector.receiver._idle = publish_without_a_broker
        collector.receiver._idle_seconds = 0.05
        eventually(lambda: collector.receiver.connected)
        broker.kill()
        assert idle.wait(90)
    assert results == [False]


def test_no_more_is_sent_than_the_broker_acknowledges(broker):
    results = []
    with Proxy(broker.port) as proxy:
        collector = Collector(broker.options("store", port=proxy.port), idle_seconds=0.05)

        def flood():
            if collector.receiver.connected and not results:
                results.extend(collector.receiver.publish("answers/x", b"x") for _ in range(150))

        collector.receiver._idle = flood
        with collector:
            eventually(lambda: results)
            eventually(lambda: not collector.receiver._outgoing)
    assert results == [True] * 100 + [False] * 50


class Saying(Collector):
    """Publishes when it takes something, and then a few more each time that all is acknowledged."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, acknowledged=self.go_on, idle_seconds=3600, **options)
        self.left = numbered(50)

    def take(self, batch):
        super().take(batch)
        self.go_on()

    def go_on(self):
        pieces, self.left = self.left[:5], self.left[5:]
        for payload in pieces:
            assert self.receiver.publish("answers/x", payload)


def test_it_says_when_the_broker_has_acknowledged_all_of_it(broker):
    """So whoever has much to say does not have to wait for `idle` after each piece."""
    for protocol in ("3.1.1", "5") if broker.kind == "mosquitto" else ("3.1.1",):
        with (
            Collector(broker.options("listener"), ["answers/#"]) as listener,
            Saying(broker.options("store", protocol=protocol)),
            Feeder(broker.options("feeder")) as feeder,
        ):
            feeder.send([b"x"])
            eventually(lambda listener=listener: len(listener.payloads) >= 50)
        assert listener.payloads == numbered(50)
