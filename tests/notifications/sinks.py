"""Servers that take notifications: HTTP and SMTP, real ones, in threads."""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import msgspec
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from ..servers import free_port

PATIENCE = 90.0


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 200

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found

    @property
    def ids(self) -> list[str]:
        return [alert["id"] for alert in self.document["alerts"]]


class Answer(NamedTuple):
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    body: str = ""
    hang: bool = False


class HttpSink:
    """Takes POST requests; answers as it was told to, then with 200."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.answers: deque[Answer] = deque()
        self.arrived = threading.Condition()
        self.released = threading.Event()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with sink.arrived:
                    answer = sink.answers.popleft() if sink.answers else Answer()
                    headers = {name.title(): value for name, value in self.headers.items()}  # their case means nothing
                    sink.requests.append(Request(self.path, headers, body, answer.status))
                    sink.arrived.notify_all()
                if answer.hang:
                    sink.released.wait(PATIENCE)
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def wait_for(self, count: int) -> list[Request]:
        """Return the requests when there are so many."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, PATIENCE), f"{len(self.requests)} came"
            return list(self.requests)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class MailSink:
    """Takes mail; refuses it with the answers that it was told."""

    def __init__(self, port: int = 0) -> None:
        self.mails: list[EmailMessage] = []
        self.refusals: deque[str] = deque()
        self.arrived = threading.Condition()
        self.port = port or free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()
        self.url = f"mailto://127.0.0.1:{self.port}?from=hostpulse@example.org&to=owner@example.org&format=text"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        if self.refusals:
            return self.refusals.popleft()
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        with self.arrived:
            self.mails.append(mail)
            self.arrived.notify_all()
        return "250 taken"

    def wait_for(self, count: int) -> list[EmailMessage]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.mails) >= count, PATIENCE), f"{len(self.mails)} came"
            return list(self.mails)

    def close(self) -> None:
        self._controller.stop()


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """Listen and never say a word; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        yield port
