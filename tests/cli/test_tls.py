"""TLS through the real commands: what works, and one line for each mistake."""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ..brokers import HOST, Broker, Certificates
from .support import Hostpulse, eventually

NONE = ""


def openssl(directory: Path, *arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], cwd=directory, check=True, capture_output=True)


def expired(certificates: Certificates, name: str) -> Path:
    """Return a certificate of the server or the client that has ended yesterday."""
    directory = certificates.authority.parent
    signing = ("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-extfile", "names")
    openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}-old.pem", *signing, "-days", "-1")
    return directory / f"{name}-old.pem"


def options(broker: Broker, certificates: Certificates, **changes: object) -> list[object]:
    """Return what has a command connect with TLS and a certificate of its own; an empty change leaves a key out."""
    values = {
        "host": HOST,
        "port": broker.port,
        "tls": "true",
        "ca_file": certificates.authority,
        "cert_file": certificates.client,
        "key_file": certificates.client_key,
    } | changes
    return [part for key, value in values.items() if value != NONE for part in ("--set", f"mqtt.{key}={value}")]


def test_publisher_and_consumer(
    hostpulse: Hostpulse, make_broker: Callable[..., Broker], broker_kind: str, certificates: Certificates
) -> None:
    broker = make_broker(broker_kind, certificates=certificates, ask_certificate=True)
    settings = options(broker, certificates)
    checked = hostpulse.run("check", *settings)
    assert f"ok   broker     {HOST}:{broker.port}, MQTT 3.1.1 with TLS" in checked.stdout
    assert checked.returncode == 0
    consumer = hostpulse.start("consume", *settings)
    consumer.says("connected to broker")
    publisher = hostpulse.start("publish", "--interval", "0.5", *settings)
    eventually(lambda: hostpulse.count() >= 3, what=lambda: publisher.output + consumer.output)
    assert (publisher.end(), consumer.end()) == (0, 0)
    hostpulse.assert_nothing_is_missing()


@pytest.mark.parametrize("kind", ["mosquitto", "nats-server"])
def test_each_mistake_has_its_line(
    hostpulse: Hostpulse, make_broker: Callable[..., Broker], kind: str, certificates: Certificates, tmp_path: Path
) -> None:
    encrypted = make_broker(kind, certificates=certificates, ask_certificate=True)
    stale = make_broker(kind, certificates=certificates._replace(server=expired(certificates, "server")))
    plain = make_broker(kind)
    old = expired(certificates, "client")
    foreign_key = certificates.stranger.with_suffix(".key")
    text = tmp_path / "text"
    text.write_text("no certificate\n")
    own = "is mqtt.cert_file still valid, and of an authority that the broker trusts?"
    mistakes: list[tuple[Broker, dict[str, object], str]] = [
        (encrypted, {"ca_file": "/nowhere.pem"}, "mqtt.ca_file (/nowhere.pem) cannot be read: No such file"),
        (encrypted, {"ca_file": text}, f"mqtt.ca_file {text} holds no certificate (PEM"),
        (encrypted, {"ca_file": certificates.stranger}, f"mqtt.ca_file {certificates.stranger} does not know its"),
        (encrypted, {"ca_file": NONE}, "its certificate is not trusted: this system does not know its authority ("),
        (stale, {}, "its certificate is not trusted: it has expired; renew it on the broker"),
        (encrypted, {"host": "localhost"}, "is not for 'localhost'; set mqtt.host to a name that it is for"),
        (encrypted, {"key_file": certificates.server_key}, "is not the key of mqtt.cert_file"),
        (encrypted, {"cert_file": text}, f"mqtt.cert_file {text} holds no certificate (PEM"),
        (encrypted, {"key_file": text}, f"mqtt.key_file {text} holds no private key (PEM"),
        (encrypted, {"cert_file": NONE, "key_file": NONE}, "set mqtt.cert_file and mqtt.key_file if it wants them"),
        (encrypted, {"cert_file": old}, own),
        (encrypted, {"cert_file": certificates.stranger, "key_file": foreign_key}, own),
        (plain, {}, "is mqtt.port its port for MQTT with TLS? else set mqtt.tls to false"),
        (encrypted, dict.fromkeys(("tls", "ca_file", "cert_file", "key_file"), NONE), "set mqtt.tls if it expects TLS"),
    ]  # fmt: skip
    for broker, changes, words in mistakes:
        settings = options(broker, certificates, **changes)
        halves = [hostpulse.start(command, *settings) for command in ("publish", "consume")]
        done = hostpulse.run("check", *settings)
        failed = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(("ok ", "-- "))]
        assert len(failed) == 1, (changes, failed)
        assert words in failed[0], changes
        assert done.returncode in {1, 2}
        for running in halves:
            running.says(words)
            said = [line for line in running.output.splitlines() if not line.startswith("INFO")]
            assert len(said) == 1, running.output
            running.end()


def test_what_mqtt_5_says(hostpulse: Hostpulse, make_broker: Callable[..., Broker], tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("user hostpulse\ntopic write hostpulse/another/#\n")
    broker = make_broker("mosquitto", password="x", settings=f"acl_file {rules}\n")
    environment = {"HOSTPULSE_MQTT__USERNAME": "hostpulse", "HOSTPULSE_MQTT__PASSWORD": "x"}
    where = ("--broker", HOST, "--set", f"mqtt.port={broker.port}", "--set", "mqtt.protocol=5")
    publisher = hostpulse.start("publish", "--interval", "0.5", *where, environment=environment)
    publisher.says("refused a message: not authorized; may this account write below mqtt.prefix?")
    publisher.end()
    assert publisher.output.count("refused a message") == 1
    environment["HOSTPULSE_MQTT__PASSWORD"] = "y"
    publisher = hostpulse.start("publish", *where, environment=environment)
    publisher.says("not authorized; set mqtt.username and mqtt.password")
    publisher.end()


def test_a_key_that_everybody_can_read_is_warned_of(
    hostpulse: Hostpulse, make_broker: Callable[..., Broker], certificates: Certificates
) -> None:
    broker = make_broker("mosquitto", certificates=certificates, ask_certificate=True)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name).resolve()
        directory.chmod(0o755)
        key = directory / "client.key"
        key.write_bytes(certificates.client_key.read_bytes())
        key.chmod(0o644)
        settings = options(broker, certificates, key_file=key)
        line = f"{key}: everybody on this machine can read mqtt.key_file; chmod o-r {key}"
        checked = hostpulse.run("check", *settings)
        assert f"--   settings   {line}\n" in checked.stdout
        assert checked.returncode == 0
        running = hostpulse.start("publish", *settings)
        running.says("connected to broker")
        assert running.end() == 0
        assert running.output.splitlines()[0] == f"hostpulse: warning: {line}"
