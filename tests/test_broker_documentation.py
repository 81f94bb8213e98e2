"""The configurations of docs/brokers.md, run from its very text: who may read and write what."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from .brokers import HOST, find_program, free_port
from .cli.support import Hostpulse, eventually

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "brokers.md").read_text(encoding="utf-8")
BLOCKS: dict[str, str] = dict(re.findall(r"^```([a-z.]+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
PASSWORD = "a password"
USERS = ("web-1", "web-2", "consumer", "homeassistant")


class Documented:
    """A broker that runs what the page says, with its files in a directory of ours."""

    def __init__(self, command: list[str], port: int, authority: Path, directory: Path) -> None:
        self.port = port
        self.authority = authority
        self.directory = directory
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        eventually(self._answers, what=self._log.read_text)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            with connected(self, "consumer"):
                return True
        except OSError:
            return False

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def connected(broker: Documented, user: str, name: str = "probe") -> Iterator[Client]:
    client = Client(CallbackAPIVersion.VERSION2, client_id=f"test-{name}")
    client.username_pw_set(user, PASSWORD)
    client.tls_set(str(broker.authority))
    client.connect(HOST, broker.port)
    client.loop_start()
    try:
        eventually(client.is_connected)
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def moved(text: str, places: Mapping[str, object]) -> str:
    """Return a configuration with our places for those of the page, each of which has to be in it."""
    for place, ours in places.items():
        assert place in text, place
        text = text.replace(place, str(ours))
    return text


@pytest.fixture
def certificate_files(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(["sh", "-e", "-c", BLOCKS["certificates"]], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def mosquitto(directory: Path, *, more: str = "") -> tuple[list[str], int]:
    """Configure mosquitto as the page says."""
    program, port = find_program("mosquitto"), free_port()
    for number, user in enumerate(USERS):
        new = ["-c"] if not number else []
        subprocess.run(["mosquitto_passwd", "-b", *new, directory / "passwords", user, PASSWORD], check=True)
    (directory / "acl").write_text(BLOCKS["mosquitto.acl"])
    (directory / "store").mkdir()
    places = {
        "listener 8883": f"listener {port} {HOST}",
        "/etc/mosquitto/certs": directory,
        "/etc/mosquitto": directory,
        "/var/lib/mosquitto": directory / "store",
    }
    text = moved(BLOCKS["mosquitto.conf"], places) + more + "\nuser root\n"
    (directory / "mosquitto.conf").write_text(text)
    return [program, "-c", str(directory / "mosquitto.conf")], port


def nats_server(directory: Path) -> tuple[list[str], int]:
    """Configure nats-server as the page says, with a second machine that has the same lines as the first."""
    program, port = find_program("nats-server"), free_port()
    text = BLOCKS["nats"]
    (machine,) = re.findall(r"^    \{\n      user: \"web-1\".*?^    \}\n", text, re.MULTILINE | re.DOTALL)
    text = text.replace(machine, machine + machine.replace("web-1", "web-2"))
    places = {
        '"127.0.0.1:4222"': f'"{HOST}:-1"',
        "0.0.0.0:8883": f"{HOST}:{port}",
        "/etc/nats": directory,
        "/var/lib/nats": directory / "store",
        '"$WEB_1_PASSWORD"': json.dumps(PASSWORD),
        '"$CONSUMER_PASSWORD"': json.dumps(PASSWORD),
    }
    (directory / "nats.conf").write_text(moved(text, places))
    return [program, "-c", str(directory / "nats.conf")], port


@pytest.fixture(params=[mosquitto, nats_server])
def broker(request: pytest.FixtureRequest, certificate_files: Path) -> Iterator[Documented]:
    command, port = request.param(certificate_files)
    made = Documented(command, port, certificate_files / "authority.pem", certificate_files)
    yield made
    made.end()


def allowed(broker: Documented, attempts: list[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """Return those of (writer, topic, reader) whose message arrives."""
    arrived: set[tuple[str, str, str]] = set()
    subscribed: list[int] = []

    def received(_client: Client, reader: str, message: MQTTMessage) -> None:
        arrived.add((message.payload.decode(), message.topic, reader))

    with ExitStack() as stack:
        for _, topic, reader in attempts:
            client = stack.enter_context(connected(broker, reader, f"reader-{len(subscribed)}"))
            client.user_data_set(reader)
            client.on_message = received
            client.on_subscribe = lambda *_: subscribed.append(1)
            before = len(subscribed)
            client.subscribe(topic, qos=1)
            eventually(lambda before=before: len(subscribed) > before)
        for writer, topic, _ in attempts:
            # Each in a connection of its own: mosquitto 2.0.11 ends one with TLS that has written what it may not.
            with connected(broker, writer, "writer") as client:
                publication = client.publish(topic, writer, qos=1)
                eventually(lambda client=client, one=publication: one.is_published() or not client.is_connected())
        time.sleep(1)  # there is no sign that nothing will come; what may come has taken a hundredth of this
    return arrived & set(attempts)


RULES: list[tuple[str, str, str, bool]] = [
    # writer, topic, reader, whether it arrives
    ("web-1", "hostpulse/web-1/cpu", "consumer", True),
    ("web-1", "hostpulse/web-1/status", "consumer", True),
    ("web-1", "hostpulse/web-1/check", "web-1", True),
    ("web-2", "hostpulse/web-2/cpu", "consumer", True),
    ("web-1", "hostpulse/web-2/cpu", "consumer", False),
    ("web-1", "hostpulse/web-2/replay", "web-2", False),
    ("web-1", "hostpulse/web-1/alert/hot/cpu", "consumer", False),
    ("web-1", "hostpulse/web-2/event", "consumer", False),
    ("web-2", "hostpulse/web-2/event", "consumer", False),
    ("web-2", "hostpulse/web-2/memory", "web-1", False),
    ("web-1", "hostpulse/web-1/memory", "web-1", False),
    ("consumer", "hostpulse/web-1/replay", "web-1", True),
    ("consumer", "hostpulse/web-1/replay", "web-2", False),
    ("consumer", "hostpulse/web-1/event", "consumer", True),
    ("consumer", "hostpulse/web-1/alert/hot/cpu", "consumer", True),
    ("consumer", "hostpulse/web-1/disk", "consumer", False),
]


def test_everybody_may_do_what_the_table_says_and_nothing_else(broker: Documented) -> None:
    passed = allowed(broker, [rule[:3] for rule in RULES])
    assert passed == {rule[:3] for rule in RULES if rule[3]}


def test_home_assistant(certificate_files: Path) -> None:
    command, port = mosquitto(certificate_files)
    broker = Documented(command, port, certificate_files / "authority.pem", certificate_files)
    try:
        rules = [
            ("web-1", "hostpulse/web-1/cpu", "homeassistant", True),
            ("homeassistant", "homeassistant/device/x/config", "homeassistant", True),
            ("homeassistant", "hostpulse/web-1/network", "homeassistant", False),
        ]
        assert allowed(broker, [rule[:3] for rule in rules]) == {rule[:3] for rule in rules if rule[3]}
    finally:
        broker.end()


def settings(broker: Documented, directory: Path) -> tuple[object, ...]:
    """Return the options that have a command use the page's settings file of a machine."""
    places = {"mqtt.example.org": HOST, "/etc/hostpulse/authority.pem": broker.authority}
    file = directory / "publisher.toml"
    file.write_text(moved(BLOCKS["publisher.toml"], places))
    (directory / "password").write_text(PASSWORD + "\n")
    return ("--config", file, "--set", f"mqtt.port={broker.port}")


def test_publisher_consumer_and_check_work_there(broker: Documented, hostpulse_at: Callable[[str], Hostpulse]) -> None:
    hostpulse = hostpulse_at("hostpulse")
    machine = settings(broker, hostpulse.home)
    consumer = (*machine, "--set", "mqtt.username=consumer")
    checked = hostpulse.run("check", "publish", *machine)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "ok   broker     user web-1 may write hostpulse/web-1/#" in checked.stdout
    checked = hostpulse.run("check", "consume", *consumer)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "ok   broker     user consumer may read hostpulse/+/+" in checked.stdout
    store = hostpulse.start("consume", *consumer)
    store.says("connected to broker")
    publisher = hostpulse.start("publish", "--interval", "0.5", *machine)
    eventually(lambda: hostpulse.count() >= 3, what=lambda: publisher.output + store.output)
    assert (publisher.end(), store.end()) == (0, 0)
    assert [line for line in (publisher.output + store.output).splitlines() if not line.startswith("INFO ")] == []


def test_check_finds_out_what_an_account_may_not_do(
    broker: Documented, hostpulse_at: Callable[[str], Hostpulse]
) -> None:
    hostpulse = hostpulse_at("hostpulse")
    machine = settings(broker, hostpulse.home)
    other = ("--set", "mqtt.username=web-2")  # which may not write as web-1
    for half, words in (("publish", "may not write hostpulse/web-1/#"), ("consume", "may not read hostpulse/+/+")):
        checked = hostpulse.run("check", half, *machine, *other)
        (line,) = [line for line in checked.stdout.splitlines() if line.startswith("FAIL")]
        assert line.startswith("FAIL broker     user web-2 "), line
        assert words in line
        assert f"`hostpulse {half}` needs it" in line
        assert checked.returncode == 1
    assert hostpulse.run("check", *machine, *other).returncode == 1  # neither half could work
    assert hostpulse.run("check", *machine).returncode == 0  # one half can


@pytest.fixture
def hostpulse_at(tmp_path: Path) -> Iterator[Callable[[str], Hostpulse]]:
    made: list[Hostpulse] = []

    def make(name: str) -> Hostpulse:
        (tmp_path / name).mkdir()
        hostpulse = Hostpulse(tmp_path / name, free_port())
        hostpulse.environment["HOSTPULSE_MQTT__PASSWORD_FILE"] = str(tmp_path / name / "password")
        made.append(hostpulse)
        return hostpulse

    yield make
    for hostpulse in made:
        hostpulse.close()


def test_certificates_instead_of_passwords(certificate_files: Path, hostpulse_at: Callable[[str], Hostpulse]) -> None:
    for name in ("web-1", "consumer"):
        commands = (
            f"openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} "
            f"-keyout {name}.key -out {name}.csr && openssl x509 -req -in {name}.csr -CA authority.pem "
            f"-CAkey authority.key -CAcreateserial -days 2 -out {name}.pem"
        )
        subprocess.run(["sh", "-e", "-c", commands], cwd=certificate_files, check=True, capture_output=True)
    more = moved(BLOCKS["mosquitto.certificates"], {"/etc/mosquitto/certs": certificate_files})
    command, port = mosquitto(certificate_files)
    configuration = certificate_files / "mosquitto.conf"
    # On the listener, instead of the passwords.
    text = configuration.read_text().replace(f"password_file {certificate_files}/passwords\n", "")
    configuration.write_text(text.replace(f"listener {port} {HOST}\n", f"listener {port} {HOST}\n{more}"))
    with (certificate_files / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        hostpulse = hostpulse_at("hostpulse")
        del hostpulse.environment["HOSTPULSE_MQTT__PASSWORD_FILE"]

        def run(half: str, user: str) -> subprocess.CompletedProcess[str]:
            values = {"host": HOST, "port": port, "tls": "true", "ca_file": certificate_files / "authority.pem"}
            values |= {"cert_file": certificate_files / f"{user}.pem", "key_file": certificate_files / f"{user}.key"}
            options = [part for key, value in values.items() for part in ("--set", f"mqtt.{key}={value}")]
            return hostpulse.run("check", half, *options)

        eventually(lambda: "ok   broker" in run("publish", "web-1").stdout)
        assert run("publish", "web-1").returncode == 0
        assert run("consume", "consumer").returncode == 0
        assert run("publish", "consumer").returncode == 1
    finally:
        process.kill()
        process.wait()
