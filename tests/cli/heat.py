"""A machine whose sensor gets hot, and all that tells of it: mail, webhook and MQTT, with everything as a process."""

import hashlib
import hmac
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from hostpulse.consumer.alerting.journal import JOURNAL_FILE, Journal, NoJournalError
from hostpulse.consumer.notifications.cursor import READERS

from ..brokers import Broker
from ..notifications.sinks import Answer, HttpSink, MailSink, Request, free_port
from .support import Hostpulse, Running, eventually

COOL, WARM, HOT = 40.0, 78.0, 93.0
HIGH, CRITICAL = 80.0, 95.0  # the sensor's own limits; the rules begin 3 °C below
INSTANCE = "web-1/sensor_hot/sensor=tmp102_board"
STATE = "hostpulse/web-1/alert/sensor_hot/tmp102_board"
SECRET = "a key of the tests"

_RULES = """
[rule.sensor_hot]
recover = "0s"
[rule.sensor_hot.warning]
for = "0s"
[rule.sensor_hot.critical]
for = "0s"
"""
# This machine's own memory and processors may be in a state that the other default rules find worth telling.
_ROUTE = """
rules = ["sensor_hot"]
group_wait = "0s"
maximum_per_hour = 10000
"""


class Sensor:
    """A tree in place of /sys with one chip that has one temperature.

    Args:
        sys: the tree; is made.
    """

    def __init__(self, sys: Path) -> None:
        self.sys = sys
        self._chip = sys / "class" / "hwmon" / "hwmon0"
        self._chip.mkdir(parents=True)
        (self._chip / "name").write_text("tmp102\n")
        (self._chip / "temp1_label").write_text("Board\n")
        (self._chip / "temp1_max").write_text(f"{HIGH * 1000:.0f}\n")
        (self._chip / "temp1_crit").write_text(f"{CRITICAL * 1000:.0f}\n")
        self.becomes(COOL)

    def becomes(self, celsius: float) -> None:
        new = self._chip / "new"
        new.write_text(f"{celsius * 1000:.0f}\n")
        new.replace(self._chip / "temp1_input")  # nobody reads half of it


class Sinks:
    """A mail server and a web server that can be away and come back to the same ports."""

    def __init__(self) -> None:
        self._mails = [MailSink(free_port())]
        self._https = [HttpSink(free_port())]
        self.mail_url, self.url = self._mails[0].url, self._https[0].url
        self._are_open = True

    def close(self) -> None:
        """Have connections refused."""
        if self._are_open:
            self._mails[-1].close()
            self._https[-1].close()
        self._are_open = False

    def open(self) -> None:
        """Be there again."""
        if not self._are_open:
            self._mails.append(MailSink(self._mails[0].port))
            self._https.append(HttpSink(self._https[0].port))
        self._are_open = True

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens meanwhile."""
        self.close()
        try:
            yield
        finally:
            self.open()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nothing is taken meanwhile: 451 and 503."""
        mail, http = self._mails[-1], self._https[-1]
        mail.refusals.extend(["451 later, please"] * 1000)
        http.answers.extend([Answer(503)] * 1000)
        try:
            yield
        finally:
            mail.refusals.clear()
            http.answers.clear()

    @property
    def mails(self) -> list[EmailMessage]:
        """What was taken."""
        return [mail for sink in self._mails for mail in list(sink.mails)]

    @property
    def requests(self) -> list[Request]:
        """All that came, taken or not."""
        return [request for sink in self._https for request in list(sink.requests)]

    @property
    def taken(self) -> list[Request]:
        return [request for request in self.requests if request.status == 200]

    def told_by_webhook(self) -> list[str]:
        """Return the levels that were told, each notification once, in order; everything about them is checked."""
        by_key: dict[str, Request] = {}
        for request in self.taken:
            first = by_key.setdefault(request.headers["Idempotency-Key"], request)
            assert first.body == request.body  # what comes again under one key is the same
        for request in self.requests:
            signed = request.headers["X-Hostpulse-Timestamp"].encode() + b"." + request.body
            expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
            assert request.headers["X-Hostpulse-Signature"] == f"sha256={expected}"
            assert request.headers["Idempotency-Key"] == request.document["id"]
        alerts = [alert for request in by_key.values() for alert in request.document["alerts"]]
        assert {alert["instance"] for alert in alerts} <= {INSTANCE}
        assert len({alert["id"] for alert in alerts}) == len(alerts)
        return [alert["level"] for alert in alerts]

    def told_by_mail(self) -> list[str]:
        """Return what the subjects of the mails say, in order."""
        subjects = [str(mail["subject"]) for mail in self.mails]
        assert all("tmp102_board of web-1" in subject for subject in subjects), subjects
        return [subject[1 : subject.index("]")] for subject in subjects]


class Subscriber:
    """Keeps what the broker tells of alerts; its session outlives the broker's outages."""

    def __init__(self, broker: Broker) -> None:
        self._messages: list[tuple[str, bytes]] = []
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="subscriber", clean_session=False)
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        eventually(self._subscribed.is_set)

    def _subscribe(self, client: Client, *_: Any) -> None:
        client.subscribe([("hostpulse/+/event", 1), ("hostpulse/+/alert/#", 1)])

    def _take(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._messages.append((message.topic, bytes(message.payload)))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def events(self, rule: str = "sensor_hot") -> list[dict[str, Any]]:
        """Return the events of a rule, those that came twice once: by their key, which is session and sequence."""
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for topic, payload in list(self._messages):
            if topic == "hostpulse/web-1/event":
                event = json.loads(payload)
                assert found.setdefault((event["session"], event["sequence"]), event) == event
        return [event for event in found.values() if event["rule"] == rule]

    def told(self) -> list[str]:
        """Return the levels of the events."""
        return [event["level"] for event in self.events()]

    def states(self) -> list[str]:
        """Return the levels of the state topic, as they changed."""
        levels: list[str] = []
        for topic, payload in list(self._messages):
            if topic == STATE:
                level = json.loads(payload)["level"] if payload else "cleared"
                levels += [] if levels[-1:] == [level] else [level]
        return levels


class Heated:
    """A publisher of a machine with a sensor, a consumer with every role, and those who are told.

    Args:
        hostpulse: the command.
        broker: that runs.
    """

    def __init__(self, hostpulse: Hostpulse, broker: Broker) -> None:
        self.hostpulse = hostpulse
        self.broker = broker
        self.sensor = Sensor(hostpulse.home / "tree" / "sys")
        self.sinks = Sinks()
        self.subscriber = Subscriber(broker)
        self._at = ("--broker", "127.0.0.1", "--set", f"mqtt.port={broker.port}")
        rules = hostpulse.home / "rules.toml"
        rules.write_text(_RULES)
        self.settings = hostpulse.home / "settings.toml"
        self.settings.touch(mode=0o600)
        self.settings.write_text(
            f'[alerts]\nrules = "{rules}"\n'
            f'[alerts.notify.mail]\napprise = ["{self.sinks.mail_url}"]{_ROUTE}'
            f'[alerts.notify.hook]\nwebhook = "{self.sinks.url}"\nsecret = "{SECRET}"{_ROUTE}'
        )
        self.consumer = self.consume()
        self.publisher = hostpulse.start(
            "publish", "--interval", "1", "--set", f"roots.sys={self.sensor.sys}", *self._at
        )
        self.wait(self._is_watched)

    def consume(self) -> Running:
        """Start the consumer, without waiting for anything."""
        self.consumer = self.hostpulse.start("consume", "--config", self.settings, *self._at)
        return self.consumer

    def _is_watched(self) -> bool:
        """Return whether the rule has seen the sensor; from then on the broker keeps what comes."""
        path = self.hostpulse.data / JOURNAL_FILE
        if not path.exists():
            return False
        with suppress(NoJournalError), Journal(path).open() as journal:
            return INSTANCE.rpartition("=")[2].encode() in journal.state()
        return False

    def kill(self) -> None:
        """End the consumer without a chance to save anything."""
        assert self.consumer.end(signal.SIGKILL) == -signal.SIGKILL, self.consumer.output

    def wait(self, condition: Callable[[], object]) -> None:
        eventually(condition, what=self.account)

    def account(self) -> str:
        """Return what there is, for a test that fails."""
        told = self.subscriber.events(), self.sinks.requests, self.sinks.mails
        return "\n".join((*map(str, told), self.publisher.output, self.consumer.output))

    def has_noted(self, count: int) -> bool:
        """Return whether both routes have noted that so many transitions were taken."""
        with Journal(self.hostpulse.data / JOURNAL_FILE).open() as journal:
            ours = [entry.number for entry in journal.entries(0, 10_000) if entry.transition.rule == "sensor_hot"]
            return len(ours) >= count and all(
                (journal.position(f"{READERS}{route}") or 0) >= ours[count - 1] for route in ("mail", "hook")
            )

    def history(self) -> list[str]:
        """Return what `hostpulse alerts history` prints."""
        done = self.hostpulse.run("alerts", "history", "--config", self.settings, "--rule", "sensor_hot")
        return done.stdout.splitlines()

    def history_of_events(self) -> list[str]:
        """Return the lines that it has to print, from what the subscriber has received."""
        return [
            f"{datetime.fromisoformat(event['timestamp']):%Y-%m-%d %H:%M:%S}  {event['level']:8}  {event['kind']:12}  "
            f"{INSTANCE}  {event['summary']}"
            for event in self.subscriber.events()
        ]

    def close(self) -> None:
        self.subscriber.close()
        self.sinks.close()
