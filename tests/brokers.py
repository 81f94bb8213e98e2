"""Real brokers for tests: mosquitto and nats-server, each on a free port of loopback; mosquitto's public image, too.

    broker = make_broker("mosquitto", password="secret", persistent=True)
    session = Session(broker.options("client"))
    broker.kill()                       # SIGKILL
    broker.start()                      # the same port, the same store

A broker whose program, or whose image, is missing skips the test.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hostpulse.bus.mqtt import MqttOptions

from .servers import HOST, Container, Program, Server, free_port, need_image

BROKERS = ("mosquitto", "nats-server")
CONTAINER = "mosquitto in a container"

USERNAME = "hostpulse"
_START_SECONDS = 60
_IMAGE = "eclipse-mosquitto:2"
_PORT_INSIDE = 1883


class Certificates(NamedTuple):
    """Files of an authority, a server's and a client's certificate by it, and an authority that nobody knows."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    stranger: Path


def find_program(kind: str) -> str:
    """Return the path of a broker's program, or skip the test."""
    places = os.pathsep.join(
        (sysconfig.get_path("scripts"), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")
    )
    return shutil.which(kind, path=places) or pytest.skip(f"{kind} is not installed")


def mosquitto_lines(listener: str, *, window: int, store: str | None) -> list[str]:
    """Return the lines of mosquitto's configuration that all have."""
    lines = [f"listener {listener}", "user root", "max_queued_messages 0", f"max_inflight_messages {window}"]
    if store is not None:
        # Written at each change: without that, a killed mosquitto forgets up to half an hour.
        lines += ["persistence true", f"persistence_location {store}/"]
        lines += ["autosave_on_changes true", "autosave_interval 1"]
    return lines


class Broker:
    """One broker that can be killed and started again.

    Args:
        kind: mosquitto, nats-server or `CONTAINER`.
        directory: its own.
        password: of the user `USERNAME`; without one everybody may connect. Not for containers.
        certificates: encrypt. Not for containers.
        ask_certificate: clients have to show a certificate.
        persistent: mosquitto keeps sessions, queues and retained messages on disk; nats-server always does.
        window: messages that it sends a client without an acknowledgement.
        patience: seconds after which nats-server sends again what was not acknowledged.
        settings: further lines of mosquitto's configuration.
        address: where it listens. Not for containers.
    """

    def __init__(
        self,
        kind: str,
        directory: Path,
        *,
        password: str | None = None,
        certificates: Certificates | None = None,
        ask_certificate: bool = False,
        persistent: bool = False,
        window: int = 1000,
        patience: int = 2,
        settings: str = "",
        address: str = HOST,
    ) -> None:
        self.kind = kind
        self.address = address
        self.port = free_port()
        self._directory = directory
        self._password = password
        self._certificates = certificates
        self._ask_certificate = ask_certificate
        (directory / "store").mkdir(parents=True)
        if kind == CONTAINER:
            need_image(_IMAGE)
            assert password is None
            assert certificates is None
            self._server: Server = self._contained(persistent=persistent, window=window, settings=settings)
            return
        program = find_program(kind)
        if kind == "mosquitto":
            configuration = self._configure_mosquitto(persistent=persistent, window=window, settings=settings)
        else:
            configuration = self._configure_nats_server(window, patience)
        self._server = Program((program, "-c", configuration), directory / "log")

    def _contained(self, *, persistent: bool, window: int, settings: str) -> Container:
        lines = mosquitto_lines(
            f"{_PORT_INSIDE} 0.0.0.0", window=window, store="/mosquitto/data" if persistent else None
        )
        text = "\n".join((*lines, "allow_anonymous true", settings, ""))
        return Container(
            _IMAGE, inside=_PORT_INSIDE, outside=self.port, files={"/mosquitto/config/mosquitto.conf": text}
        )

    def _configure_mosquitto(self, *, persistent: bool, window: int, settings: str) -> Path:
        store = str(self._directory / "store") if persistent else None
        lines = [
            *mosquitto_lines(f"{self.port} {self.address}", window=window, store=store),
            f"allow_anonymous {'false' if self._password else 'true'}",
            settings,
        ]
        if self._password:
            passwords = self._directory / "passwords"
            subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, USERNAME, self._password], check=True)
            lines.append(f"password_file {passwords}")
        if self._certificates:
            lines += [f"certfile {self._certificates.server}", f"keyfile {self._certificates.server_key}"]
            lines += [
                f"cafile {self._certificates.authority}",
                f"require_certificate {str(self._ask_certificate).lower()}",
            ]
        path = self._directory / "mosquitto.conf"
        path.write_text("\n".join(lines) + "\n")
        return path

    def _configure_nats_server(self, window: int, patience: int) -> Path:
        mqtt: dict[str, object] = {
            "listen": f"{self.address}:{self.port}",
            "ack_wait": f"{patience}s",
            "max_ack_pending": window,
        }
        if self._certificates:
            mqtt["tls"] = {
                "cert_file": str(self._certificates.server),
                "key_file": str(self._certificates.server_key),
                "ca_file": str(self._certificates.authority),
                "verify": self._ask_certificate,
            }
        configuration: dict[str, object] = {
            "server_name": "test",
            "listen": f"{HOST}:-1",
            "jetstream": {"store_dir": str(self._directory / "store"), "max_file_store": 1 << 30},
            "mqtt": mqtt,
        }
        if self._password:
            configuration["authorization"] = {"users": [{"user": USERNAME, "password": self._password}]}
        path = self._directory / "nats.json"
        path.write_text(json.dumps(configuration))
        return path

    def options(self, client_id: str, **changes: object) -> MqttOptions:
        """Return the options of a client that may connect."""
        values: dict[str, object] = {"host": self.address, "port": self.port, "client_id": client_id}
        if self._password:
            values |= {"username": USERNAME, "password": self._password}
        if self._certificates:
            values |= {"tls": True, "ca_file": str(self._certificates.authority)}
        return MqttOptions(**(values | changes))  # type: ignore[arg-type]

    def start(self) -> None:
        """Start it, and return when it answers an MQTT client."""
        self._server.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if not self._server.is_running or time.monotonic() > deadline:
                pytest.fail(f"{self.kind} does not start: {self._server.log[-500:]}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        login = b""
        flags = 2
        for bit, text in ((0x80, USERNAME), (0x40, self._password)):
            if self._password and text is not None:
                flags |= bit
                login += len(text).to_bytes(2, "big") + text.encode()
        body = b"\0\4MQTT\4" + bytes((flags,)) + b"\0\x3c" + b"\0\5probe" + login
        try:
            with socket.create_connection((self.address, self.port), timeout=5) as plain:
                if self._ask_certificate:
                    return True
                stream = self._encrypted(plain) if self._certificates else plain
                with stream:
                    stream.sendall(b"\x10" + bytes((len(body),)) + body)
                    return stream.recv(4)[:1] == b"\x20"
        except OSError:
            return False

    @staticmethod
    def _encrypted(plain: socket.socket) -> ssl.SSLSocket:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(plain)

    def kill(self) -> None:
        """End it without a chance to save anything."""
        self._server.kill()

    def forget(self) -> None:
        """Remove what it has stored; to be called while it does not run. Not for containers."""
        store = self._directory / "store"
        shutil.rmtree(store)
        store.mkdir()

    def stop(self) -> None:
        """End it properly."""
        self._server.stop()

    def freeze(self) -> None:
        """Stop it from running; its connections stay, and the system still accepts new ones for it."""
        self._server.freeze()

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._server.thaw()

    def close(self) -> None:
        """End it for good."""
        self._server.close()


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Return what starts brokers; they end with the test. The arguments are those of `Broker`."""
    brokers: list[Broker] = []

    def make(kind: str, **arguments: object) -> Broker:
        broker = Broker(kind, tmp_path / f"broker-{len(brokers)}", **arguments)  # type: ignore[arg-type]
        brokers.append(broker)
        broker.start()
        return broker

    yield make
    for broker in brokers:
        broker.close()


@pytest.fixture(params=BROKERS)
def broker_kind(request: pytest.FixtureRequest) -> str:
    """Run the test with each kind of broker."""
    return request.param


@pytest.fixture
def broker(make_broker: Callable[..., Broker], broker_kind: str) -> Broker:
    """Return a running broker, open to everybody, of each kind."""
    return make_broker(broker_kind)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make certificates; the server's is valid for 127.0.0.1 and for no name."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-batch")
    for name in ("authority", "stranger"):
        openssl(
            "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "2"
        )
    (directory / "names").write_text(f"subjectAltName=IP:{HOST}\n")
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = (
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority.key",
            "-CAcreateserial",
            "-extfile",
            "names",
            "-days",
            "2",
        )
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signing)
    names = ("authority.pem", "server.pem", "server.key", "client.pem", "client.key", "stranger.pem")
    return Certificates(*(directory / name for name in names))
