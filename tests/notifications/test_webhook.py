"""Webhooks as their receivers see them."""

import hashlib
import hmac
import re
import ssl
from pathlib import Path

import pytest

from hostpulse import __version__
from hostpulse.bus.errors import UsageError
from hostpulse.consumer.notifications import RouteOptions
from hostpulse.consumer.notifications.notification import Notification, notification_of
from hostpulse.consumer.notifications.sender import DeliveryError
from hostpulse.consumer.notifications.webhook import Timeouts, WebhookSender

from ..brokers import Certificates
from .conftest import SECRET
from .sinks import Answer, HttpSink, free_port
from .test_notification import at, notification

NOW = 1_790_000_000.4
PAGE = Path(__file__).parents[2] / "docs" / "notifications.md"


def sender(url: str, **options: str) -> WebhookSender:
    made = WebhookSender(RouteOptions(name="ops", webhook=url, **options), timeouts=Timeouts(1.0, 1.0))  # type: ignore[arg-type]
    made.open()
    return made


@pytest.fixture
def one() -> Notification:
    return notification(at())


def test_what_a_receiver_gets(http: HttpSink, one: Notification) -> None:
    sender(http.url, secret=SECRET).send(one, NOW)
    [request] = http.requests
    assert request.body == one.document()
    headers = request.headers
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == f"hostpulse/{__version__}"
    assert headers["Idempotency-Key"] == one.id
    assert headers["X-Hostpulse-Timestamp"] == "1790000000"
    signed = hmac.new(SECRET.encode(), b"1790000000." + request.body, hashlib.sha256).hexdigest()
    assert headers["X-Hostpulse-Signature"] == f"sha256={signed}"


def test_without_a_key_there_is_no_signature(http: HttpSink, one: Notification) -> None:
    sender(http.url).send(one, NOW)
    assert "X-Hostpulse-Signature" not in http.requests[0].headers


def test_the_check_of_the_documentation_takes_what_we_send_and_nothing_else(http: HttpSink, one: Notification) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    names: dict[str, object] = {}
    exec(code[1], names)  # noqa: S102 - it is what we tell people to do
    is_genuine = names["is_genuine"]
    assert callable(is_genuine)
    sender(http.url, secret=SECRET).send(one, NOW)
    [request] = http.requests
    assert is_genuine(request.headers, request.body, SECRET, NOW)
    assert not is_genuine(request.headers, request.body + b" ", SECRET, NOW)
    assert not is_genuine(request.headers, request.body, "other", NOW)
    assert not is_genuine(request.headers | {"X-Hostpulse-Timestamp": "1790000001"}, request.body, SECRET, NOW)
    assert not is_genuine(request.headers, request.body, SECRET, NOW + 3600)  # somebody plays it again


def test_a_login_in_the_address_is_a_header(http: HttpSink, one: Notification) -> None:
    sender(http.url.replace("//", "//anna:ge%3Aheim@")).send(one, NOW)
    assert http.requests[0].headers["Authorization"] == "Basic YW5uYTpnZTpoZWlt"
    assert http.requests[0].path == "/hook"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_success(http: HttpSink, one: Notification, status: int) -> None:
    http.answers.append(Answer(status))
    sender(http.url).send(one, NOW)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(500), ("127.0.0.1 answered 500", False, None)),
        (Answer(503, {"Retry-After": "7"}), ("127.0.0.1 answered 503", False, 7)),
        (Answer(429, {"Retry-After": "Mon, 21 Sep 2026 14:14:00 GMT"}), ("127.0.0.1 answered 429", False, 39.6)),
        (Answer(408), ("127.0.0.1 answered 408", False, None)),
        (Answer(400, body="no\nsuch thing"), ("127.0.0.1 answered 400: no such thing", True, None)),
        (Answer(401), ("127.0.0.1 answered 401", True, None)),
        (Answer(404), ("127.0.0.1 answered 404", True, None)),
        (Answer(410), ("127.0.0.1 answered 410", True, None)),
        (
            Answer(302, {"Location": "http://elsewhere.example.org/"}),
            ("127.0.0.1 redirects (302), which is not followed; name the address it means", True, None),
        ),
    ],
)
def test_refusals(http: HttpSink, one: Notification, answer: Answer, expected: tuple[str, bool, float | None]) -> None:
    http.answers.append(answer)
    with pytest.raises(DeliveryError) as caught:
        sender(http.url).send(one, NOW)
    error = caught.value
    assert (error.reason, error.is_lasting) == expected[:2]
    assert error.retry_after == (None if expected[2] is None else pytest.approx(expected[2]))
    assert len(http.requests) == 1


def test_no_refusal_shows_a_secret(http: HttpSink, one: Notification) -> None:
    address = f"http://anna:{SECRET}@127.0.0.1:{http.port}/t0ken-{SECRET}?key=k{SECRET}"
    http.answers.append(Answer(404, body=f"no anna at /t0ken-{SECRET}?key=k{SECRET}, signed with s{SECRET}"))
    with pytest.raises(DeliveryError) as caught:
        sender(address, secret=f"s{SECRET}").send(one, NOW)
    assert SECRET not in str(caught.value)
    away = address.replace(str(http.port), str(free_port()))
    with pytest.raises(DeliveryError) as caught:
        sender(away).send(one, NOW)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(RouteOptions(name="ops", webhook=address, secret=SECRET))


def test_a_name_that_does_not_exist(one: Notification) -> None:
    with pytest.raises(DeliveryError, match=r"^nowhere\.invalid: cannot be reached \(.*\)$"):
        sender("http://nowhere.invalid/").send(one, NOW)


def test_tls_is_checked(one: Notification, certificates: Certificates) -> None:
    sink = HttpSink()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server, certificates.server_key)
    sink._server.socket = context.wrap_socket(sink._server.socket, server_side=True)
    address = f"https://127.0.0.1:{sink.port}/hook"
    try:
        with pytest.raises(DeliveryError, match="has a certificate that is not trusted"):
            sender(address).send(one, NOW)
        with pytest.raises(DeliveryError, match="has a certificate that is not trusted"):
            sender(address, ca_file=str(certificates.stranger)).send(one, NOW)
        sender(address, ca_file=str(certificates.authority)).send(one, NOW)
        assert len(sink.requests) == 1
    finally:
        sink.close()


def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(UsageError, match=r"^ca_file cannot be used \(.*\); name a file in PEM$"):
        sender("https://127.0.0.1/", ca_file=str(tmp_path / "ca.pem"))


def test_two_senders_of_a_process_do_not_share_a_login(http: HttpSink, one: Notification) -> None:
    sender(http.url.replace("//", "//a:b@")).send(one, NOW)
    sender(http.url).send(notification_of("other", NOW, list(one.entries)), NOW)
    assert "Authorization" not in http.requests[1].headers
