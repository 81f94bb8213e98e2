"""What came to a broker, and the files that keep it."""

import lzma
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec

__all__ = ["Arrival", "load", "recording_of", "save"]

# For text that repeats itself at length; the preset alone makes files that are a quarter larger.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 4, "lp": 0, "pb": 0, "nice_len": 273, "depth": 32}]


class Arrival(NamedTuple):
    """A message as it came to the broker.

    Attributes:
        received: seconds since the epoch.
        leaf: last part of its topic.
        payload: as it was; JSON, but for `online` and `offline` of `status`.
    """

    received: float
    leaf: str
    payload: bytes


def recording_of(name: str) -> Path:
    """Return where the recording of a kind is kept."""
    return Path(__file__).parent / "recorded" / f"{name}.jsonl.xz"


def save(arrivals: Iterable[Arrival], path: Path) -> None:
    """Write a recording: a line for each moment, `[received, {leaf: payload}, ...]`."""
    whole = path.with_suffix(".part")
    with lzma.open(whole, "wb", filters=_FILTERS) as file:
        for received, together in groupby(arrivals, key=lambda one: one.received):
            messages = b",".join(b'{"%s":%s}' % (one.leaf.encode(), _as_json(one)) for one in together)
            file.write(b"[%.2f,%s]\n" % (received, messages))
    whole.replace(path)


def _as_json(arrival: Arrival) -> bytes:
    return b'"%s"' % arrival.payload if arrival.leaf == "status" else arrival.payload


def load(path: Path) -> Iterator[Arrival]:
    """Yield the messages of a recording, their payloads byte by byte as they were."""
    decode_line = msgspec.json.Decoder(list[msgspec.Raw]).decode
    decode_message = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    with lzma.open(path) as file:
        for line in file:
            received, *messages = decode_line(line)
            for message in messages:
                ((leaf, payload),) = decode_message(message).items()
                content = bytes(payload)
                yield Arrival(float(bytes(received)), leaf, content.strip(b'"') if leaf == "status" else content)
