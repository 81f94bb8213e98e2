"""The publisher as a process that is killed, with brokers that come and go: nothing is missing afterwards."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostpulse.bus.codec import Envelope
from hostpulse.bus.replay import ReplayRequest, encode_replay_request
from hostpulse.bus.topics import Topics
from hostpulse.publisher.outbox.recovery import recover
from hostpulse.publisher.outbox.segment import Segment

from ..processes import HOST, Subscriber

OPTIONS = {"choice": {"disable": ["sensors", "network", "battery", "disk"]}}
TOPICS = Topics()


def on_disk(data: Path, *, acknowledged: bool = False) -> list[bytes]:
    """Return the payloads in the outbox: all, or those that were acknowledged."""
    segments = Segment.find(data / "outbox")
    done = recover(segments).done if acknowledged else None
    return [
        record.message.payload
        for segment in segments
        for piece in segment.pieces()
        for record in piece.records
        if not record.is_state and (done is None or record.number in done)
    ]


def count(data: Path) -> int:
    return sum(path.read_bytes().count(b'"sequence":') for path in (data / "outbox").glob("*.log"))


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {seconds:.0f} s"
        time.sleep(0.02)


def envelopes(subscriber: Subscriber) -> list[Envelope]:
    return [sample.envelope for sample in subscriber.samples()]


def assert_nothing_is_missing(subscriber: Subscriber, *, sessions: int) -> None:
    found: dict[tuple[str, Any], set[int]] = {}
    for one in envelopes(subscriber):
        found.setdefault((one.subsystem, one.session), set()).add(one.sequence)
    assert len({session for _, session in found}) == sessions
    for key, numbers in found.items():
        assert numbers == set(range(1, max(numbers) + 1)), key


def test_nothing_is_missing_however_often_it_is_killed(
    tree_of: Callable[[str], Any], subscribe: Any, publish: Any, tmp_path: Path
) -> None:
    tree, data, subscriber = tree_of("vm"), tmp_path / "data", subscribe()
    for turn in range(5):
        before = count(data)
        process = publish(tree, data_dir=str(data), **OPTIONS)
        # at another moment of the cycle each time
        subscriber.wait_for(lambda least=before + 1 + 2 * turn: count(data) >= least)
        process.kill()
        process.wait()
    process = publish(tree, data_dir=str(data), **OPTIONS)
    subscriber.wait_for(lambda: len({one.session for one in envelopes(subscriber)}) == 6)
    process.send_signal(signal.SIGTERM)
    process.wait(90)
    subscriber.wait_for(lambda: subscriber.messages[-1][:2] == (TOPICS.status(HOST), b"offline"))
    assert_nothing_is_missing(subscriber, sessions=6)
    assert set(on_disk(data)) <= {payload for _, payload, _ in subscriber.messages}


def test_nothing_is_missing_after_kills_while_the_broker_is_away(
    tree_of: Callable[[str], Any], broker: Any, subscribe: Any, publish: Any, tmp_path: Path
) -> None:
    tree, data = tree_of("vm"), tmp_path / "data"
    broker.kill()
    subscriber = None
    for turn in range(4):
        before = count(data)
        process = publish(tree, data_dir=str(data), **OPTIONS)
        wait_for(lambda least=before + 6 + turn: count(data) >= least)
        if turn == 2:  # the broker dies again while the backlog is sent
            broker.start()
            subscriber = subscribe()
            subscriber.wait_for(subscriber.samples)
            broker.kill()
        process.kill()
        process.wait()
    assert subscriber is not None
    early = {payload for _, payload, _ in subscriber.messages}
    # What the broker acknowledged before it died it may have taken along; that is what consumers ask again for.
    acknowledged = set(on_disk(data, acknowledged=True))
    made = set(on_disk(data))
    assert len(made - acknowledged - early) > 5
    broker.start()
    subscriber = subscribe()
    publish(tree, data_dir=str(data), **OPTIONS)
    subscriber.wait_for(lambda: made - acknowledged - early <= {payload for _, payload, _ in subscriber.messages})


def test_a_publisher_that_is_restarted_while_the_broker_is_away(
    tree_of: Callable[[str], Any], broker: Any, subscribe: Any, publish: Any, tmp_path: Path
) -> None:
    tree, data = tree_of("vm"), tmp_path / "data"
    broker.stop()
    for _ in range(2):
        before = count(data)
        process = publish(tree, data_dir=str(data), **OPTIONS)
        wait_for(lambda least=before + 8: count(data) >= least)
        process.send_signal(signal.SIGTERM)
        _, talk = process.communicate(timeout=90)
        assert b"messages wait in" in talk
        assert process.returncode == 0
    made = set(on_disk(data))
    broker.start()
    subscriber = subscribe()
    publish(tree, data_dir=str(data), **OPTIONS)
    subscriber.wait_for(lambda: made <= {payload for _, payload, _ in subscriber.messages})
    found = envelopes(subscriber)
    assert_nothing_is_missing(subscriber, sessions=3)
    assert len({(one.subsystem, one.session, one.sequence) for one in found}) == len(found), "sent twice"


def test_a_consumer_that_asks_is_answered_byte_for_byte(
    tree_of: Callable[[str], Any], subscribe: Any, publish: Any, tmp_path: Path
) -> None:
    tree, data, subscriber = tree_of("vm"), tmp_path / "data", subscribe()
    topic = TOPICS.sample(HOST, "cpu")
    process = publish(tree, data_dir=str(data), **OPTIONS)
    subscriber.wait_for(lambda: sum(name == topic for name, _, _ in subscriber.messages) >= 6)
    process.send_signal(signal.SIGTERM)
    process.wait(90)
    session = envelopes(subscriber)[0].session
    expected = [payload for name, payload, _ in subscriber.messages if name == topic][1:5]
    publish(tree, data_dir=str(data), **OPTIONS)
    late = subscribe()
    late.wait_for(late.samples)
    for first, last in ((2, 4), (3, 5), (2, 5)):
        request = ReplayRequest(session=session, subsystem="cpu", first=first, last=last)
        late.publish(TOPICS.replay(HOST), encode_replay_request(request))
    late.publish(TOPICS.replay(HOST), b"nonsense")
    late.wait_for(lambda: set(expected) <= {payload for _, payload, _ in late.messages})
    after = len(late.messages)
    late.wait_for(lambda: len(late.messages) > after + 4)
    again = [one for one in late.messages if one[1] in expected]
    assert again == [(topic, payload, False) for payload in expected]


def test_without_rights_it_says_so_once_and_publishes(
    tree_of: Callable[[str], Any], subscribe: Any, publish: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    subscriber = subscribe()
    process = publish(tree_of("vm"), data_dir=str(tmp_path / "file"), **OPTIONS)
    subscriber.wait_for(lambda: len(subscriber.samples()) > 12)
    process.send_signal(signal.SIGTERM)
    _, talk = process.communicate(timeout=90)
    assert process.returncode == 0
    assert talk.count(b"WARNING") == 1
    assert b"Not a directory; messages are kept in memory" in talk
    assert_nothing_is_missing(subscriber, sessions=1)


@pytest.mark.parametrize("sync_seconds", [0.0, 5.0])
def test_sync_policies_work_on_a_real_disk(
    tree_of: Callable[[str], Any], subscribe: Any, publish: Any, tmp_path: Path, sync_seconds: float
) -> None:
    subscriber = subscribe()
    process = publish(tree_of("vm"), data_dir=str(tmp_path), outbox={"sync_seconds": sync_seconds}, **OPTIONS)
    subscriber.wait_for(lambda: len(subscriber.samples()) > 12)
    process.send_signal(signal.SIGTERM)
    _, talk = process.communicate(timeout=90)
    assert process.returncode == 0
    assert b"outbox" not in talk
