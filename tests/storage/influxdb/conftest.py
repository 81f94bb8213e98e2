import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hostpulse.consumer.storage.influxdb import InfluxOptions

Answer = tuple[int, dict[str, str], str]


class FakeInflux:
    """Answers that a real server does not give on demand: a function from body to status, headers and text."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.answer: Callable[[bytes], Answer] = lambda _: (204, {}, "")
        self.options = InfluxOptions(url="http://127.0.0.1:1", token="t", org="o", bucket="b", timeout=5)


@pytest.fixture
def fake_influx() -> Iterator[FakeInflux]:
    fake = FakeInflux()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(204, {"X-Influxdb-Build": "Core", "X-Influxdb-Version": "3.10.1"}, "")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert "precision=ms" in self.path
            assert self.headers["Authorization"] == "Token t"
            fake.bodies.append(body)
            self.reply(*fake.answer(body))

        def reply(self, status: int, headers: dict[str, str], text: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    fake.options = InfluxOptions(
        url=f"http://127.0.0.1:{server.server_address[1]}", token="t", org="o", bucket="b", timeout=5
    )
    with contextlib.closing(server.socket):
        yield fake
        server.shutdown()
        thread.join()
