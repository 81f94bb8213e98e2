"""Sleeping until the network, the clock or another thread has something for us."""

import contextlib
import select
import socket
from typing import Any

from .transport import Stream

__all__ = ["Waker"]


class Waker:
    """Sleeps on a connection and can be woken from anywhere; without effect until `open`."""

    def __init__(self) -> None:
        self._receiver: socket.socket | None = None
        self._sender: socket.socket | None = None

    def open(self) -> None:
        """Make what `wake` writes to."""
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def close(self) -> None:
        """Undo `open`."""
        for end in (self._receiver, self._sender):
            if end is not None:
                end.close()
        self._receiver = self._sender = None

    def wake(self) -> None:
        """End `wait` early; may be called from any thread and from a signal handler."""
        sender = self._sender
        if sender is not None:
            with contextlib.suppress(OSError):  # closed by now, or full: then wait() has bytes enough to wake up from
                sender.send(b"\0")

    def wait(self, stream: Stream | None, seconds: float, *, writing: bool = False) -> None:
        """Sleep until the time is over, or the stream can be read (or written, where asked for), or `wake` was called.

        Raises:
            RuntimeError: not open.
        """
        receiver = self._receiver
        if receiver is None:
            raise RuntimeError("wait() before open()")
        if stream is not None and stream.readable_without_select():
            seconds = 0
        if self._ready(receiver, stream, max(0.0, seconds), writing=writing):
            with contextlib.suppress(BlockingIOError):
                receiver.recv(4096)

    @staticmethod
    def _ready(receiver: socket.socket, stream: Stream | None, seconds: float, *, writing: bool) -> bool:
        """Sleep; return whether it was `wake`."""
        if not hasattr(select, "poll"):  # Windows
            readers: list[Any] = [receiver] if stream is None else [receiver, stream]
            return receiver in select.select(readers, readers[1:] if writing else [], [], seconds)[0]
        poll = select.poll()  # select() fails on descriptors from 1024 on, which a process with many clients reaches
        poll.register(receiver, select.POLLIN)
        if stream is not None:
            poll.register(stream, select.POLLIN | (select.POLLOUT if writing else 0))
        return any(descriptor == receiver.fileno() for descriptor, _ in poll.poll(seconds * 1000))
