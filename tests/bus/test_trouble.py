"""Each trouble with the broker gives one clear line, once."""

import logging
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import Any

import pytest

from hostpulse.bus.backoff import Backoff
from hostpulse.bus.errors import UsageError
from hostpulse.bus.mqtt import MqttOptions

from ..brokers import HOST, free_port
from .clients import Collector, Feeder, Owner, eventually, numbered, subscribe_and_leave

SECONDS = 0.3  # several attempts fit into it


@pytest.fixture(params=["session", "receiver"])
def trouble_of(request, caplog, monkeypatch):
    """Return a function that tries to connect for a while and returns the lines that were said."""

    monkeypatch.setattr("hostpulse.bus.mqtt.link.Backoff", lambda **_: Backoff(first=0.05, most=0.05))

    def attempt(options: MqttOptions, seconds: float = SECONDS) -> list[str]:
        caplog.clear()
        if request.param == "session":
            owner = Owner(options)
            owner.session.open()
            end = time.monotonic() + seconds
            owner.until(lambda: time.monotonic() > end)
            connections, trouble = owner.session.connections, owner.session.trouble
            owner.session.close(seconds=0.2)
        else:
            collector = Collector(options)
            collector.start()
            time.sleep(seconds)
            connections, trouble = collector.receiver.connections, collector.receiver.trouble
            collector.stop()
        assert connections == 0
        lines = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(lines) == 1, lines
        assert trouble is not None
        assert lines == [f"{trouble} (trying again)"]
        return lines[0]

    return attempt


def test_wrong_password(make_broker, broker_kind, trouble_of):
    broker = make_broker(broker_kind, password="right")
    line = trouble_of(broker.options("client", password="wrong"))
    assert "set mqtt.username and mqtt.password" in line
    assert "wrong" not in line.replace("wrong user name", ""), "a password does not belong into a log"


def test_no_password(make_broker, broker_kind, trouble_of):
    broker = make_broker(broker_kind, password="right")
    assert "set mqtt.username and mqtt.password" in trouble_of(broker.options("client", username=None, password=None))


def test_unknown_host(trouble_of):
    options = MqttOptions(host="no-such-host.invalid", port=1883, client_id="client")
    assert "no address is known for 'no-such-host.invalid'; check mqtt.host" in trouble_of(options)


def test_impossible_host(trouble_of):
    options = MqttOptions(host="a" * 70 + ".example", port=1883, client_id="client")
    assert "check mqtt.host" in trouble_of(options)


def test_nothing_listens(trouble_of):
    port = free_port()
    line = trouble_of(MqttOptions(host=HOST, port=port, client_id="client"))
    assert line.startswith(f"broker {HOST}:{port}: nothing listens there; is the broker running?")


def test_nothing_listens_with_tls(trouble_of):
    assert "nothing listens there" in trouble_of(MqttOptions(host=HOST, port=free_port(), client_id="client", tls=True))


def test_untrusted_certificate(make_broker, broker_kind, certificates, trouble_of):
    broker = make_broker(broker_kind, certificates=certificates)
    line = trouble_of(broker.options("client", ca_file=str(certificates.stranger)))
    assert "its certificate is not trusted" in line
    assert "set mqtt.ca_file" in line


def test_certificate_of_another_host(make_broker, broker_kind, certificates, trouble_of):
    broker = make_broker(broker_kind, certificates=certificates)
    line = trouble_of(broker.options("client", host="localhost"))
    assert "its certificate is not trusted" in line
    assert "mqtt.host" in line


def test_tls_on_a_plain_port(broker, trouble_of):
    line = trouble_of(broker.options("client", tls=True))
    assert "TLS failed" in line
    assert "mqtt.port" in line


def test_plain_on_a_tls_port(make_broker, broker_kind, certificates, trouble_of):
    broker = make_broker(broker_kind, certificates=certificates)
    assert "set mqtt.tls if it expects TLS" in trouble_of(broker.options("client", tls=False))


def test_no_client_certificate(make_broker, broker_kind, certificates, trouble_of):
    broker = make_broker(broker_kind, certificates=certificates, ask_certificate=True)
    assert "mqtt.cert_file" in trouble_of(broker.options("client"))


def test_nats_server_does_not_speak_mqtt_5(make_broker, trouble_of):
    assert "mqtt.protocol" in trouble_of(make_broker("nats-server").options("client", protocol="5"))


@contextmanager
def fake_broker(answer: bytes = b""):
    """Accept connections, say something or nothing, and stay."""
    connections = []
    with socket.create_server((HOST, 0)) as listener:

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connections.append(connection)
                connection.sendall(answer)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in connections:
            connection.close()


def test_a_broker_that_never_answers(trouble_of):
    with fake_broker() as port:
        options = MqttOptions(host=HOST, port=port, client_id="client", keepalive_seconds=1)
        assert "it does not answer" in trouble_of(options, 2.5)


def test_something_else_than_a_broker(trouble_of):
    with fake_broker(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n" + b"Server: x\r\n" * 20) as port:
        assert "it sent what is not MQTT" in trouble_of(MqttOptions(host=HOST, port=port, client_id="client"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"\x20\x02\0\0\x32\xff\xff\xff\xff\x01", "length has more than four bytes"),
        (b"\x20\x02\0\0\x32\x04\0\x05ab", "shorter than its topic"),
        (b"\x20\x02\0\0\x32\x00", "shorter than its topic"),
        (b"\x20\x02\0\0\x90\xff\xff\xff\x7f" + b"x" * 1_100_000, "a packet of 268435"),
    ],
)
def test_what_is_not_mqtt_ends_the_connection(answer, reason):
    with fake_broker(answer) as port:
        collector = Collector(MqttOptions(host=HOST, port=port, client_id="client"))
        collector.start()
        eventually(lambda: collector.receiver.trouble)
        assert reason in collector.receiver.trouble
        stream: Any = collector.receiver._stream
        assert len(stream.rest) <= 1_200_000
        collector.stop()
    assert collector.payloads == []


def test_two_clients_with_one_name(broker, caplog):
    first, second = Collector(broker.options("twin")), Collector(broker.options("twin"))
    with first:
        second.start()
        eventually(lambda: "does another client use the same mqtt.client_id?" in caplog.text)
        second.stop()
    assert first.receiver.connections < 20, "they throw each other out as fast as they can"


def test_a_subscription_that_is_refused(caplog):
    with fake_broker(b"\x20\x02\0\0" + b"\x90\x04\0\1\1\x80") as port:
        options = MqttOptions(host=HOST, port=port, client_id="client")
        with Collector(options, ["t/mine", "t/secret"]):
            eventually(lambda: "refused" in caplog.text)
        with Owner(options, subscriptions=["t/mine", "t/secret"]) as owner:
            owner.until(lambda: caplog.text.count("refused") == 2)
    lines = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines == [
        f"broker {HOST}:{port}: refused the subscription to t/secret; may this account read it?",
        f"broker {HOST}:{port}: refused the subscription to t/secret; may this account read it?",
    ]


@pytest.mark.parametrize("answers", [False, True])
def test_a_receiver_is_connected_for_people_when_its_subscription_is_answered(answers, caplog):
    caplog.set_level(logging.INFO)
    with fake_broker(b"\x20\x02\0\0" + b"\x90\x03\0\1\1" * answers) as port:
        collector = Collector(MqttOptions(host=HOST, port=port, client_id="client"))
        collector.start()
        eventually(lambda: collector.receiver.connected)
        if answers:
            eventually(lambda: collector.receiver.receiving)
        else:
            time.sleep(SECONDS)
        assert collector.receiver.receiving == answers
        assert ("connected to broker" in caplog.text) == answers
        collector.stop()


def test_mqtt_5_says_why_a_subscription_is_refused(caplog):
    with fake_broker(b"\x20\x03\0\0\0" + b"\x90\x04\0\1\0\x97") as port:
        options = MqttOptions(host=HOST, port=port, client_id="client", protocol="5")
        with Owner(options, subscriptions=["t/much"]) as owner:
            owner.until(lambda: "refused" in caplog.text)
            assert owner.session.denied_filters == {"t/much"}
    assert "refused the subscription to t/much (quota exceeded, a limit of the broker for this account);" in caplog.text


def test_mqtt_5_says_why_a_connection_is_refused(trouble_of):
    with fake_broker(b"\x20\x03\0\x97\0") as port:
        options = MqttOptions(host=HOST, port=port, client_id="client", protocol="5")
        assert "quota exceeded; this account has reached a limit of the broker" in trouble_of(options)


def test_tls(make_broker, broker_kind, certificates):
    broker = make_broker(broker_kind, certificates=certificates)
    subscribe_and_leave(broker.options("store"))
    sent = [*numbered(3000, size=200), b"x" * 300_000]
    with Feeder(broker.options("feeder")) as feeder:
        feeder.send(sent)
    with Collector(broker.options("store")) as collector, Owner(broker.options("publisher")) as owner:
        eventually(lambda: len(collector.payloads) >= len(sent))
        assert collector.payloads == sent
        owner.publish(numbered(100, size=30_000))
        owner.until(lambda: len(owner.acknowledged) >= 100)
        eventually(lambda: len(collector.payloads) >= len(sent) + 100)
    with Collector(broker.options("store"), linger_seconds=0.01) as again, Feeder(broker.options("feeder")) as feeder:
        feeder.send([b"last"])
        eventually(lambda: again.payloads)
    assert again.payloads == [b"last"]


def test_client_certificate(make_broker, broker_kind, certificates):
    broker = make_broker(broker_kind, certificates=certificates, ask_certificate=True)
    files = {"cert_file": str(certificates.client), "key_file": str(certificates.client_key)}
    with Collector(broker.options("store", **files)) as collector, Owner(broker.options("publisher", **files)) as owner:
        owner.publish([b"hello"])
        owner.until(lambda: collector.payloads)


def test_a_broker_that_freezes_in_the_tls_handshake_holds_nobody_up(make_broker, certificates, monkeypatch):
    monkeypatch.setattr("hostpulse.bus.mqtt.options._CONNECT_TIMEOUT_SECONDS", 1.0)
    broker = make_broker("mosquitto", certificates=certificates)
    broker.freeze()
    owner = Owner(broker.options("publisher"))
    owner.session.open()
    owner.until(lambda: owner.session.trouble, 12)
    assert "does not answer" in str(owner.session.trouble)
    assert owner.longest_call < 0.5
    owner.session.close(seconds=0.2)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"ca_file": "/nowhere.pem"}, "mqtt.ca_file /nowhere.pem: No such file or directory"),
        ({"ca_file": __file__}, "mqtt.ca_file"),
        ({"cert_file": "/nowhere.pem", "key_file": "/nowhere.key"}, "mqtt.cert_file /nowhere.pem"),
        ({"cert_file": __file__, "key_file": __file__}, "mqtt.cert_file"),
    ],
)
def test_certificate_files_that_cannot_be_used(changes, complaint):
    options = MqttOptions(host=HOST, port=1, client_id="client", tls=True, **changes)
    for connect in (Owner(options).session.open, Collector(options).receiver.run):
        with pytest.raises(UsageError, match="mqtt") as caught:
            connect()
        assert complaint in str(caught.value)


def test_an_encrypted_key_is_refused_and_not_asked_for(certificates, tmp_path):
    key = tmp_path / "encrypted.key"
    command = ["openssl", "pkcs8", "-topk8", "-in", certificates.client_key, "-out", key, "-passout", "pass:secret"]
    subprocess.run(command, check=True)
    files: dict[str, Any] = {"cert_file": str(certificates.client), "key_file": str(key)}
    with pytest.raises(UsageError, match="encrypted"):
        Owner(MqttOptions(host=HOST, port=1, client_id="client", tls=True, **files)).session.open()


def test_options_never_show_the_password():
    options = MqttOptions(host="::1", port=1883, client_id="client", password="secret")
    assert repr(options) == "MqttOptions('client' at [::1]:1883)"
