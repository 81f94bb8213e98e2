"""The socket below paho.

paho takes any object that `tls_set_context()`'s wrap_socket() returns for its socket. `Stream` passes everything on,
remembers why the connection ended and when the broker was last heard, and closes so that the broker reads our last
words. `CutStream` gives paho only what was laid into it, so that paho sees whole control packets and never the stream.
"""

import socket
import ssl
from collections.abc import Callable
from typing import cast

from paho.mqtt.client import Client

__all__ = ["CutStream", "Stream", "StreamError", "Wrapper", "stream_of"]

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_READ_BYTES = 65536


class StreamError(Exception):
    """We ended the connection ourselves; the text says why."""


class Stream:
    """One connection to the broker, as paho sees it.

    Attributes:
        ended: nothing can come any more; paho learns it at its next read.
        error: what ended it; None where the broker closed it properly.
        drained: the last read found nothing.
        heard: when something last came.
    """

    def __init__(self, raw: socket.socket, clock: Callable[[], float]) -> None:
        self._raw = raw
        self._clock = clock
        self._linger_until: float | None = None
        self.ended = False
        self.error: Exception | None = None
        self.drained = False
        self.heard = clock()
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # Ours

    def readable_without_select(self) -> bool:
        """Whether there is something that select() on the socket cannot know of."""
        return self.ended or (isinstance(self._raw, ssl.SSLSocket) and self._raw.pending() > 0)

    def abort(self, reason: str) -> None:
        """Have paho's next read find the end."""
        self._end(StreamError(reason))

    def linger(self, *, until: float) -> None:
        """Have `close` wait until the broker has closed, at most until that moment.

        Unread data at close() makes TCP send a reset, and a reset makes the broker drop what it has not read from us:
        messages, acknowledgements, DISCONNECT. So we say that we are done and read on until the broker has closed.
        """
        self._linger_until = until

    def _end(self, error: Exception | None) -> None:
        if not self.ended:
            self.ended, self.error = True, error

    # paho's

    def recv(self, size: int) -> bytes:
        """Read what has come; empty at the end."""
        if self.ended:
            return b""
        try:
            data = self._raw.recv(size)
        except _WOULD_BLOCK:
            self.drained = True
            raise BlockingIOError from None
        except OSError as error:
            self._end(error)
            return b""
        self.drained = False
        if data:
            self.heard = self._clock()
        else:
            self._end(None)
        return data

    def send(self, data: bytes) -> int:
        """Send what the socket takes now."""
        try:
            return self._raw.send(data)
        except _WOULD_BLOCK:
            raise BlockingIOError from None
        except OSError as error:
            self._end(error)
            raise

    def fileno(self) -> int:
        """Return the descriptor for select()."""
        return self._raw.fileno()

    def settimeout(self, seconds: float | None) -> None:
        """Bound the next calls."""
        self._raw.settimeout(seconds)

    def setblocking(self, blocking: bool) -> None:  # noqa: FBT001  the socket's own signature
        """Choose whether calls wait."""
        self._raw.setblocking(blocking)

    def do_handshake(self) -> None:
        """Agree on keys, where the stream is encrypted."""
        if isinstance(self._raw, ssl.SSLSocket):
            try:
                self._raw.do_handshake()
            except BaseException:
                self._raw.close()  # paho forgets it
                raise

    def close(self) -> None:
        """Close, see `linger`; without that at once, for a broker that does not answer must not hold us up."""
        try:
            if self._linger_until is not None and not self.ended:
                self._take_leave(self._linger_until)
        except OSError:
            pass  # the other side is gone, which is what we are waiting for
        finally:
            self._raw.close()

    def _take_leave(self, until: float) -> None:
        self._raw.settimeout(max(0.001, until - self._clock()))
        self._send_rest()
        self._raw.shutdown(socket.SHUT_WR)
        while (left := until - self._clock()) > 0:
            self._raw.settimeout(left)
            if not self._raw.recv(_READ_BYTES):
                break

    def _send_rest(self) -> None:
        """Send what was taken from paho and not sent yet."""


class CutStream(Stream):
    """A connection whose stream is ours; paho gets its control packets, and its sends are taken at once.

    Attributes:
        rest: begin of a packet whose end has not come yet.
        needed: length of that packet, as far as is known.
        skip: bytes to come that belong to a packet of which we have had enough.
    """

    def __init__(self, raw: socket.socket, clock: Callable[[], float]) -> None:
        super().__init__(raw, clock)
        self._outgoing = bytearray()
        self._for_paho = b""
        self.rest = bytearray()
        self.needed = 0
        self.skip = 0

    def read(self) -> bytes | None:
        """Return what has come: None if there is nothing, empty bytes at the end."""
        try:
            return super().recv(_READ_BYTES)
        except BlockingIOError:
            return None

    def lay(self, packet: bytes) -> None:
        """Lay a whole packet ready for paho's next recv()."""
        self._for_paho = packet

    @property
    def writing(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._outgoing) and not self.ended

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        try:
            while self._outgoing:
                del self._outgoing[: self._raw.send(self._outgoing)]
        except _WOULD_BLOCK:
            pass
        except OSError as error:
            self._end(error)

    def recv(self, size: int) -> bytes:
        """Give paho what was laid ready."""
        if not self._for_paho and not self.ended:
            raise BlockingIOError
        data, self._for_paho = self._for_paho[:size], self._for_paho[size:]
        return data

    def send(self, data: bytes) -> int:
        """Take everything; what the socket does not take now is kept."""
        self._outgoing += data
        self.flush()
        return len(data)

    def _send_rest(self) -> None:
        self._raw.sendall(self._outgoing)


class Wrapper:
    """What paho takes for a TLS context: wraps each new socket into a stream.

    Args:
        context: the real TLS context; None for a plain connection.
        kind: of stream.
        clock: monotonic seconds.
    """

    check_hostname = True  # the real context checks the name itself; paho need not

    def __init__(self, context: ssl.SSLContext | None, kind: type[Stream], clock: Callable[[], float]) -> None:
        self._context = context
        self._kind = kind
        self._clock = clock

    def wrap_socket(self, raw: socket.socket, *, server_hostname: str, do_handshake_on_connect: bool) -> Stream:
        """Return the stream around a socket."""
        if self._context is not None:
            raw = self._context.wrap_socket(
                raw, server_hostname=server_hostname, do_handshake_on_connect=do_handshake_on_connect
            )
        return self._kind(raw, self._clock)


def stream_of(client: Client) -> Stream | None:
    """Return the stream that a `Wrapper` gave to paho; None without a connection."""
    return cast("Stream | None", client.socket())
