import socket
import threading
import time

import pytest

from hostpulse.bus.mqtt.transport import CutStream, Stream, StreamError

from ..brokers import HOST

KINDS = pytest.mark.parametrize("kind", [Stream, CutStream])


@pytest.fixture
def ends():
    """A connection: our end and the broker's."""
    with socket.create_server((HOST, 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setblocking(False)
    theirs.settimeout(10)
    with ours, theirs:
        yield ours, theirs


def read_all(end: socket.socket) -> bytes:
    data = b""
    while piece := end.recv(65536):
        data += piece
    return data


@KINDS
def test_a_proper_end_lets_the_broker_read_our_last_words(ends, kind):
    ours, theirs = ends
    stream = kind(ours, time.monotonic)
    theirs.sendall(b"x" * 100_000)  # never read: a plain close() would reset the connection
    stream.send(b"last words")
    stream.linger(until=time.monotonic() + 10)
    closing = threading.Thread(target=stream.close)
    closing.start()
    assert read_all(theirs) == b"last words"
    theirs.close()
    closing.join(5)
    assert not closing.is_alive(), "it waits for more than the broker's end"


@KINDS
def test_a_proper_end_has_a_deadline(ends, kind):
    ours, theirs = ends
    stream = kind(ours, time.monotonic)
    stopping = threading.Event()

    def talk() -> None:  # a broker that never ends, and always has more to say
        while not stopping.wait(0.01):
            try:
                theirs.sendall(b"x" * 1000)
            except OSError:
                return

    talking = threading.Thread(target=talk)
    talking.start()
    start = time.monotonic()
    stream.linger(until=start + 0.3)
    stream.close()
    assert time.monotonic() - start < 3
    stopping.set()
    talking.join()


@KINDS
def test_without_it_close_does_not_wait(ends, kind):
    stream = kind(ends[0], time.monotonic)
    start = time.monotonic()
    stream.close()
    stream.close()
    assert time.monotonic() - start < 1


def test_a_stream_knows_how_it_ended(ends):
    ours, theirs = ends
    stream = Stream(ours, time.monotonic)
    with pytest.raises(BlockingIOError):
        stream.recv(1)
    assert stream.drained
    theirs.sendall(b"ab")
    while True:
        try:
            assert stream.recv(1) == b"a"
            break
        except BlockingIOError:
            time.sleep(0.001)
    assert not stream.drained
    stream.abort("enough")
    assert (stream.recv(1), stream.ended) == (b"", True)
    assert isinstance(stream.error, StreamError)
    stream.abort("the first reason counts")
    assert str(stream.error) == "enough"


def test_what_the_socket_does_not_take_is_kept(ends):
    ours, theirs = ends
    stream = CutStream(ours, time.monotonic)
    data = bytes(range(256)) * 40_000
    assert stream.send(data) == len(data)
    assert stream.writing
    received = bytearray()
    while len(received) < len(data):
        received += theirs.recv(1 << 20)
        stream.flush()
    assert not stream.writing
    assert received == data


def test_paho_sees_only_what_was_laid_ready(ends):
    ours, theirs = ends
    stream = CutStream(ours, time.monotonic)
    theirs.sendall(b"stream")
    with pytest.raises(BlockingIOError):
        stream.recv(1)
    stream.lay(b"\xd0\x00")
    assert (stream.recv(1), stream.recv(5)) == (b"\xd0", b"\x00")
    with pytest.raises(BlockingIOError):
        stream.recv(1)
