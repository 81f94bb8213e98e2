"""The publisher's session against real brokers."""

import os
import signal
import threading
import time
from typing import Any

import pytest

from hostpulse.bus.errors import MessageTooLargeError
from hostpulse.bus.mqtt import MAXIMUM_PAYLOAD_BYTES, Publication, Session

from ..attempts import some_attempts
from .clients import Collector, Feeder, Owner, eventually, numbered, parse_packets
from .proxy import Proxy

BRIEFLY = 0.8  # no call of an owner may take this long


def test_messages_arrive_in_order_and_each_is_acknowledged_once(broker):
    with Collector(broker.options("store")) as collector, Owner(broker.options("publisher")) as owner:
        numbers = owner.publish(numbered(1000))
        owner.until(lambda: len(owner.acknowledged) >= 1000)
        eventually(lambda: len(collector.payloads) >= 1000)
    assert owner.acknowledged == numbers
    assert collector.payloads == numbered(1000)


def test_greeting_farewell_and_last_will(make_broker, broker_kind):
    broker = make_broker(broker_kind)
    status = [Publication("t/status", word, retain=True) for word in (b"online", b"offline", b"gone")]
    with Collector(broker.options("store")) as collector:
        arguments = {"greeting": lambda: status[:1], "farewell": status[1:2], "will": status[2]}
        with Owner(broker.options("publisher"), **arguments) as owner:
            owner.until(lambda: collector.payloads == [b"online"])
        eventually(lambda: collector.payloads == [b"online", b"offline"])
        with Proxy(broker.port) as proxy:
            dying = Owner(broker.options("publisher", port=proxy.port), **arguments)
            dying.session.open()
            dying.until(lambda: len(collector.payloads) == 3)
            proxy.cut(proxy.conversations[0])
            eventually(lambda: len(collector.payloads) == 4)
            dying.session.close(seconds=0.1)
    assert collector.payloads == [b"online", b"offline", b"online", b"gone"]
    with Collector(broker.options("late")) as late:
        eventually(lambda: late.payloads)
    assert (late.payloads, late.retained) == ([b"gone"], [True])


def test_what_is_out_when_the_connection_breaks_is_sent_again_under_its_number(broker):
    with Collector(broker.options("store")) as collector, Proxy(broker.port) as proxy:
        with Owner(broker.options("publisher", port=proxy.port)) as owner:
            broker.freeze()  # takes, and does not answer
            numbers = owner.publish(numbered(30))
            owner.until(lambda: len(proxy.conversations[0].from_client) > 30 * 20)
            proxy.cut(proxy.conversations[0])
            owner.until(lambda: not owner.session.connected)
            broker.thaw()
            owner.until(lambda: len(owner.acknowledged) >= 30)
            assert sorted(owner.acknowledged) == sorted(numbers)
            eventually(lambda: len(set(collector.payloads)) >= 30)
        again = [
            body for first, body in parse_packets(bytes(proxy.conversations[-1].from_client)) if first & 0xF8 == 0x38
        ]
    assert len(again) == 30, "they were not marked as duplicates"
    assert set(collector.payloads) == set(numbered(30))


def test_the_greeting_comes_after_what_was_out(broker):
    words = iter((b"old", b"new"))
    with Collector(broker.options("store")) as collector, Proxy(broker.port) as proxy:
        greeting = lambda: [Publication("t/info", next(words), retain=True)]  # noqa: E731
        with Owner(broker.options("publisher", port=proxy.port), greeting=greeting) as owner:
            owner.until(lambda: owner.acknowledged)
            broker.freeze()
            owner.publish([b"older"], topic="t/info")
            owner.until(lambda: b"older" in proxy.conversations[0].from_client)
            proxy.cut(proxy.conversations[0])
            owner.until(lambda: not owner.session.connected)
            broker.thaw()
            owner.until(lambda: len(owner.acknowledged) >= 3)
            eventually(lambda: collector.payloads[-1:] == [b"new"])


def test_a_connection_that_breaks_while_messages_are_handed_over_loses_none(make_broker, broker_kind):
    broker = make_broker(broker_kind, persistent=True)
    with Owner(broker.options("publisher")) as owner:
        room = owner.session.room
        broker.kill()
        numbers = [owner.session.publish(Publication("t/x", payload)) for payload in numbered(room)]
        broker.start()
        owner.until(lambda: len(owner.acknowledged) >= room)
    assert sorted(owner.acknowledged) == sorted(numbers)


@some_attempts
def test_a_frozen_broker_holds_nobody_up_and_is_noticed(make_broker, broker_kind):
    broker = make_broker(broker_kind)
    with Owner(broker.options("publisher", keepalive_seconds=1)) as owner:
        broker.freeze()
        owner.longest_call = 0
        large = [b"x" * 500_000] * owner.session.room  # more than the system buffers

        def publish_and_look():
            if large and owner.session.room:
                before = time.monotonic()
                owner.session.publish(Publication("t/x", large.pop()))
                owner.longest_call = max(owner.longest_call, time.monotonic() - before)
            return not owner.session.connected

        seconds = owner.until(publish_and_look, step=0.5)  # half of the keepalive: as seldom as an owner may
        assert seconds < 2.5 + 1
        time.sleep(0.1)
        owner.until(lambda: "does not answer" in str(owner.session.trouble))  # the next attempt finds it frozen, too
        assert owner.longest_call < BRIEFLY
        broker.thaw()
        assert owner.until(lambda: owner.session.connected) < 2 + 1


@some_attempts
def test_it_returns_within_two_seconds_of_the_broker(make_broker, broker_kind):
    broker = make_broker(broker_kind, persistent=True)
    with Owner(broker.options("publisher")) as owner:
        broker.kill()
        owner.until(lambda: "nothing listens there" in (owner.session.trouble or ""))
        broker.start()
        # An owner with nothing to do for a minute: it is woken when the next attempt is due.
        assert owner.until(lambda: owner.session.connected, step=60) < 2 + 0.5


def test_close_sends_everything_first(broker):
    with Collector(broker.options("store")) as collector:
        owner = Owner(broker.options("publisher"), farewell=[Publication("t/x", b"farewell")])
        with owner:
            owner.publish(numbered(30, size=100_000))
        assert len(owner.acknowledged) == 31
        eventually(lambda: len(collector.payloads) >= 31)
    assert collector.payloads == [*numbered(30, size=100_000), b"farewell"]


def test_close_with_unread_messages_reaches_the_broker(broker):
    """Closing a socket with unread data resets the connection, and the broker drops what it had not read."""
    will = Publication("t/status", b"gone")
    with (
        Collector(broker.options("store"), ["t/status", "t/x"]) as collector,
        Feeder(broker.options("feeder")) as feeder,
    ):
        owner = Owner(broker.options("publisher"), subscriptions=["noise/#"], will=will)
        with owner:
            feeder.send([b"x" * 50_000] * 20, topic="noise/x")
            owner.session.publish(Publication("t/x", b"last words"))
        eventually(lambda: collector.payloads)
        time.sleep(0.2)
    assert collector.payloads == [b"last words"], "the broker saw a connection that was lost"


@pytest.mark.parametrize("away", ["frozen", "killed"])
@some_attempts
def test_close_keeps_its_deadline(make_broker, broker_kind, away):
    broker = make_broker(broker_kind)
    owner = Owner(broker.options("publisher"))
    with owner:
        if away == "frozen":
            broker.freeze()
        else:
            broker.kill()
        owner.session.publish(Publication("t/x", b"lost"))
        start = time.monotonic()
        owner.session.close(seconds=1)
        assert time.monotonic() - start < 3
    assert owner.acknowledged == []


@some_attempts
def test_close_while_it_connects(make_broker, broker_kind):
    broker = make_broker(broker_kind)
    owner = Owner(broker.options("publisher"))
    broker.freeze()
    owner.session.open()
    start = time.monotonic()
    owner.session.close(seconds=1)
    assert time.monotonic() - start < 3


def test_subscriptions_are_renewed_at_each_connection(broker):
    with (
        Proxy(broker.port) as proxy,
        Feeder(broker.options("feeder")) as feeder,
        Owner(broker.options("publisher", port=proxy.port), subscriptions=["t/ask", "t/tell"]) as owner,
    ):
        owner.until(lambda: b"\x90\x04" in proxy.conversations[0].from_broker)
        proxy.cut(proxy.conversations[0])
        owner.until(lambda: len(proxy.conversations) == 2 and b"\x90\x04" in proxy.conversations[1].from_broker)
        feeder.send(numbered(300), topic="t/ask")
        owner.until(lambda: len(owner.messages) >= 300)
    assert owner.messages == [("t/ask", payload) for payload in numbered(300)]


def test_callbacks_that_raise_are_logged_and_stop_nothing(broker, caplog):
    def fail(*_):
        raise ValueError("a fault of the owner's")

    arguments = {"on_acknowledged": fail, "on_message": fail, "greeting": fail, "subscriptions": ["t/#"]}
    with Owner(broker.options("publisher"), **arguments) as owner:
        owner.publish(numbered(3))
        owner.until(lambda: caplog.text.count("could not be handled") >= 6)
        owner.until(lambda: owner.session.room == 40)  # paho has forgotten them as well
        assert owner.session.connections == 1
    assert "the first messages of a connection could not be made" in caplog.text


def test_what_a_broker_would_not_take_is_not_sent(broker):
    with Owner(broker.options("publisher")) as owner:
        with pytest.raises(MessageTooLargeError, match="brokers take"):
            owner.session.publish(Publication("t/x", bytes(MAXIMUM_PAYLOAD_BYTES + 1)))
        with pytest.raises(ValueError, match="topic"):
            owner.session.publish(Publication("t/+", b""))
        owner.session.publish(Publication("t/x", bytes(MAXIMUM_PAYLOAD_BYTES)))
        owner.until(lambda: owner.acknowledged)
        assert owner.session.connections == 1


def test_numbers_that_have_gone_round_are_not_used_twice(make_broker):
    broker = make_broker("mosquitto")
    with Owner(broker.options("publisher")) as owner:
        broker.freeze()
        [first] = owner.publish([b"first"])
        client: Any = owner.session._client
        client._last_mid = 0x10000 + first - 2
        second, third = owner.publish([b"second", b"third"])
        broker.thaw()
        owner.until(lambda: len(owner.acknowledged) >= 3)
    assert len({first, second, third}) == 3


def test_wake_from_a_thread_and_from_a_signal_handler(broker):
    with Owner(broker.options("publisher")) as owner:
        previous = signal.signal(signal.SIGUSR1, lambda *_: owner.session.wake())
        try:
            for call in (owner.session.wake, lambda: os.kill(os.getpid(), signal.SIGUSR1)):
                owner.session.wait(0)  # what came before
                timer = threading.Timer(0.2, call)
                timer.start()
                start = time.monotonic()
                owner.session.wait(20, for_network=False)
                assert 0.1 < time.monotonic() - start < 10
                timer.join()
        finally:
            signal.signal(signal.SIGUSR1, previous)
    for _ in range(100_000):
        owner.session.wake()  # after the end, and more than a pipe holds: without effect


def test_wake_never_blocks(make_broker):
    owner = Owner(make_broker("mosquitto").options("publisher"))
    with owner:
        for _ in range(100_000):
            owner.session.wake()


def test_use_before_open(make_broker):
    session = Session(make_broker("mosquitto").options("publisher"))
    session.wake()
    session.service()
    session.close(seconds=1)
    assert (session.room, session.connected) == (0, False)
    with pytest.raises(RuntimeError, match="before open"):
        session.wait(0)
    with pytest.raises(RuntimeError, match="before open"):
        session.publish(Publication("t/x", b""))


def test_mqtt_5(make_broker):
    broker = make_broker("mosquitto", window=15)
    with Collector(broker.options("store")) as collector, Owner(broker.options("publisher", protocol="5")) as owner:
        assert owner.session.room == 15, "the broker said that it takes no more at once"
        numbers = owner.publish(numbered(100))
        owner.until(lambda: len(owner.acknowledged) >= 100)
        eventually(lambda: len(collector.payloads) >= 100)
    assert owner.acknowledged == numbers


def test_a_refused_message_is_reported_once_with_mqtt_5(make_broker, tmp_path, caplog):
    rules = tmp_path / "rules"
    rules.write_text("topic write t/mine\n")
    broker = make_broker("mosquitto", settings=f"acl_file {rules}")
    with Owner(broker.options("publisher", protocol="5"), subscriptions=["t/secret"]) as owner:
        owner.publish(numbered(2), topic="t/other")  # mosquitto 2.0.11 ends the connection after each
        owner.until(lambda: len(owner.acknowledged) >= 2)
    lines = [record.message for record in caplog.records if "refused a message" in record.message]
    assert len(lines) == 1
    assert "not authorized; may this account write below mqtt.prefix?" in lines[0]
