"""A man in the middle: sees what both sides say, cuts their stream into pieces, and breaks it."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from ..brokers import HOST


class Conversation:
    """What one connection said."""

    def __init__(self, client: socket.socket, broker: socket.socket) -> None:
        self.client, self.broker = client, broker
        self.from_client = bytearray()
        self.from_broker = bytearray()


class Proxy:
    """Forwards connections to a broker.

    Args:
        port: of the broker.
        piece: at most so many bytes at once from the broker to the client.
    """

    def __init__(self, port: int, *, piece: int = 65536) -> None:
        self._target = port
        self._piece = piece
        self.conversations: list[Conversation] = []
        self.break_after: int | None = None
        """Break a connection when the broker has said so many bytes in it."""
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                broker = socket.create_connection((HOST, self._target))
            except OSError:
                client.close()
                continue
            talk = Conversation(client, broker)
            self.conversations.append(talk)
            for arguments in ((talk, client, broker, talk.from_client), (talk, broker, client, talk.from_broker)):
                thread = threading.Thread(target=self._forward, args=arguments, daemon=True)
                thread.start()
                self._threads.append(thread)

    def _forward(self, talk: Conversation, source: socket.socket, sink: socket.socket, record: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(self._piece if source is talk.broker else 65536):
                record += data
                sink.sendall(data)
                if source is talk.broker and self.break_after is not None and len(record) >= self.break_after:
                    self.cut(talk)
            sink.shutdown(socket.SHUT_WR)

    @staticmethod
    def cut(talk: Conversation) -> None:
        """End a connection for both sides."""
        for side in (talk.client, talk.broker):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for talk in self.conversations:
            self.cut(talk)
        for thread in self._threads:
            thread.join(10)
        for talk in self.conversations:
            talk.client.close()
            talk.broker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
