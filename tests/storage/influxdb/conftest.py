import contextlib
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from hostpulse.consumer.storage.influxdb import InfluxOptions

Answer = tuple[int, dict[str, str], str]


class FakeInflux:
    """Answers that a real server does not give on demand: a function from body to status, headers and text.

    It wants the token everywhere, and has neither buckets nor Flux.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.answer: Callable[[bytes], Answer] = lambda _: (204, {}, "")
        self.pong: Answer = (204, {}, "")
        self.place = "/api/v2/write?org=o&bucket=b&precision=ms"
        self.found: Callable[[dict[str, Any]], Answer] = lambda _: (200, {}, "[]")  # to a query in SQL
        self.options = InfluxOptions(url="http://127.0.0.1:1", token="t", org="o", bucket="b", timeout=5)

    def be_version_3(self) -> None:
        """Be as InfluxDB 3 Core is: it says who it is, has an endpoint of its own, and refuses an empty body."""
        self.pong = (200, {"X-Influxdb-Build": "Core", "X-Influxdb-Version": "3.6.0"}, '{"version":"3.6.0"}')
        self.place = "/api/v3/write_lp?db=b&precision=millisecond&accept_partial=true&no_sync="

    def answer_to(self, body: bytes) -> Answer:
        """Return the answer to a body; one that is empty is refused by InfluxDB 3 if by nothing else."""
        answer = self.answer(body)
        if not body and "v3" in self.place and answer[0] == HTTPStatus.NO_CONTENT:
            return 400, {}, "write buffer error: incoming write was empty"
        return answer


@pytest.fixture
def fake_influx() -> Iterator[FakeInflux]:
    fake = FakeInflux()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.headers["Authorization"] != "Token t":
                self.reply(401, {}, '{"error": "the request was not authenticated"}')
            elif self.path == "/ping":
                self.reply(*fake.pong)
            else:
                self.reply(404, {}, "not found")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Authorization"] != "Token t":
                self.reply(401, {}, '{"error": "the request was not authenticated"}')
                return
            if self.path == "/api/v3/query_sql":
                self.reply(*fake.found(msgspec.json.decode(body)))
                return
            assert self.path.startswith(fake.place)
            fake.bodies.append(body)
            self.reply(*fake.answer_to(body))

        def reply(self, status: int, headers: dict[str, str], text: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            with contextlib.suppress(ConnectionError):  # the client may have given up
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
