"""What a broker loses comes back: real brokers, a publisher of its own process, a real store."""

from collections.abc import Callable
from pathlib import Path

from ...brokers import Broker
from .support import RunningConsumer, embedded, eventually, highest, missing, publishing, stored


def test_a_killed_broker_without_persistence_loses_nothing(make_broker: Callable[..., Broker], tmp_path: Path) -> None:
    broker = make_broker("mosquitto")
    consumer, reader = tmp_path / "consumer", embedded(tmp_path / "consumer")
    with publishing(broker, tmp_path / "publisher"):
        with RunningConsumer(broker, consumer):
            eventually(lambda: highest(stored(reader)) >= 4)
        before = highest(stored(reader))
        eventually(lambda: published(tmp_path / "publisher") >= before + 10)
        broker.kill()
        broker.start()
        with RunningConsumer(broker, consumer):
            eventually(lambda: highest(stored(reader)) >= before + 12)
            assert missing(stored(reader)), "the broker was to lose something"
            eventually(lambda: not missing(stored(reader)), what=lambda: missing(stored(reader)))


def published(directory: Path) -> int:
    """Return the highest number of a cpu message in a publisher's outbox."""
    data = b"".join(path.read_bytes() for path in sorted((directory / "outbox").glob("*.log")))
    marker = b'"subsystem":"cpu"'
    numbers = [
        part.split(b'"sequence":')[1].split(b",")[0] for part in data.split(marker)[1:] if b'"sequence":' in part
    ]
    return max(map(int, numbers), default=0)
