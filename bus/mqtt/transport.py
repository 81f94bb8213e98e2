"""The socket below paho when we read for it.

paho takes any object that `tls_set_context()`'s wrap_socket() returns for its socket. This one gives paho only what
was laid into it, so that paho sees whole control packets and never the stream, and takes every send at once.
"""

import socket
import ssl

__all__ = ["WOULD_BLOCK", "Connection", "Wrapper"]

WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_LINGER_SECONDS = 1.0
_READ_BYTES = 65536


class Connection:
    """One connection to the broker: its stream for us, its control packets for paho."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._outgoing = bytearray()
        self._for_paho = b""
        self.ended = False
        self.rest = bytearray()
        """Begin of a packet whose end has not come yet."""
        self.needed = 0
        """Length of that packet, as far as is known."""
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # Ours

    def read(self) -> bytes | None:
        """Return what has come: None if there is nothing, empty bytes at the end."""
        try:
            data = self._stream.recv(_READ_BYTES)
        except WOULD_BLOCK:
            return None
        except OSError:
            data = b""
        self.ended = not data
        return data

    def lay(self, packet: bytes) -> None:
        """Lay a whole packet ready for paho's next recv()."""
        self._for_paho = packet

    def readable_without_select(self) -> bool:
        """Whether there is something that select() on the socket cannot know of."""
        return self.ended or (isinstance(self._stream, ssl.SSLSocket) and self._stream.pending() > 0)

    @property
    def writing(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._outgoing)

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        try:
            while self._outgoing:
                del self._outgoing[: self._stream.send(self._outgoing)]
        except WOULD_BLOCK:
            pass
        except OSError:
            self.ended = True  # paho sees it at its next read

    # paho's

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

    def fileno(self) -> int:
        """Return the descriptor for select()."""
        return self._stream.fileno()

    def settimeout(self, seconds: float | None) -> None:
        """Bound the next calls."""
        self._stream.settimeout(seconds)

    def setblocking(self, blocking: bool) -> None:  # noqa: FBT001  the socket's own signature
        """Choose whether calls wait."""
        self._stream.setblocking(blocking)

    def do_handshake(self) -> None:
        """Agree on keys, where the stream is encrypted."""
        if isinstance(self._stream, ssl.SSLSocket):
            self._stream.do_handshake()

    def close(self) -> None:
        """Close so that the broker reads our last acknowledgements.

        Unread data at close() makes TCP send a reset, and a reset makes the broker drop what it has not read from us.
        So we say that we are done and read on until the broker has closed, for a bounded while.
        """
        try:
            if not self.ended:
                self._stream.settimeout(_LINGER_SECONDS)
                self._stream.sendall(self._outgoing)
                self._stream.shutdown(socket.SHUT_WR)
                while self._stream.recv(_READ_BYTES):
                    pass
        except OSError:
            pass  # the other side is gone, which is what we are waiting for
        finally:
            self._stream.close()


class Wrapper:
    """What paho takes for a TLS context: wraps each new socket into a `Connection`.

    Args:
        context: the real TLS context; None for a plain connection.
    """

    check_hostname = True  # the real context checks the name itself; paho need not

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context

    def wrap_socket(self, stream: socket.socket, *, server_hostname: str, do_handshake_on_connect: bool) -> Connection:
        """Return the connection around a socket."""
        if self._context is None:
            return Connection(stream)
        return Connection(
            self._context.wrap_socket(
                stream, server_hostname=server_hostname, do_handshake_on_connect=do_handshake_on_connect
            )
        )
