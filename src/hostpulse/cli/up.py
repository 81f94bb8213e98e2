"""Run everything on this machine: broker, publisher and consumer, until Ctrl+C.

Without `mqtt.host` an embedded broker is started on loopback; with it that broker is used.
"""

import argparse
import signal
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime

from rich.console import Console

from hostpulse import __version__
from hostpulse.bus.codec import decode
from hostpulse.bus.errors import MessageError
from hostpulse.bus.mqtt import Session
from hostpulse.bus.topics import Topics
from hostpulse.config.settings import Settings
from hostpulse.consumer.service import HISTORY_FILE, ConsumerOptions
from hostpulse.publisher.service import PublisherOptions
from hostpulse.stack.broker import EmbeddedBroker, Endpoint
from hostpulse.stack.lock import only_run
from hostpulse.stack.process import Child

from .arguments import consumer_options, load_settings, mqtt_options, publisher_options
from .launch import command_of, encode_options
from .view import View

_STOP_SECONDS = 8.0
_REFRESH_SECONDS = 1.0
_FIRST_CONNECTION_SECONDS = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This command has no arguments of its own."""
    del parser


def run(arguments: argparse.Namespace) -> int:
    """Start everything, show what comes, and stop everything in order."""
    settings = load_settings(arguments).settings
    console = Console(stderr=True, highlight=False)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with only_run(settings.data_dir), ExitStack() as stack, View(console) as view:
        view.say(f"hostpulse {__version__} on {settings.host}, every {settings.interval:g} s")
        view.say(f"data       {settings.data_dir}")
        endpoint = _start_broker(settings, stack, view)
        session = _listen(settings, endpoint, stack, view)
        publisher = mqtt_options(settings, "publisher", endpoint)
        consumer = mqtt_options(settings, "store", endpoint)
        _start("consumer", consumer_options(settings, consumer), stack, view)
        view.say(f"consumer   writes {settings.data_dir / HISTORY_FILE}")
        _start("publisher", publisher_options(settings, publisher), stack, view)
        view.say(f"publisher  sends to {publisher.address} as {settings.mqtt.prefix}/{settings.host}/…")
        view.say("Ctrl+C ends everything; `hostpulse export cpu --since 1m` shows what was stored")
        while not stopping.is_set():
            session.service()
            session.wait(_REFRESH_SECONDS)
            view.refresh()
        view.say("stopping")
    return 0


def _start_broker(settings: Settings, stack: ExitStack, view: View) -> Endpoint | None:
    """Start the embedded broker, unless the settings name one."""
    if settings.mqtt.host is not None:
        return None
    broker = EmbeddedBroker(
        settings.data_dir, settings.broker.port, on_line=view.warn, on_death=lambda death: view.warn(str(death))
    )
    stack.callback(broker.stop, _STOP_SECONDS)
    endpoint = broker.start()
    view.say(f"broker     embedded nats-server on {endpoint.host}:{endpoint.port}, user {endpoint.username},")
    view.say(f"           password in {settings.data_dir / 'broker' / 'password'}")
    return endpoint


def _start(name: str, options: PublisherOptions | ConsumerOptions, stack: ExitStack, view: View) -> None:
    """Start one service; the stack stops it before what was started earlier."""
    child = Child(
        name,
        command_of(options),
        input=encode_options(options),
        on_line=view.report,
        on_death=lambda death: view.warn(str(death)),
    )
    stack.callback(child.stop, _STOP_SECONDS)
    child.start()


def _listen(settings: Settings, endpoint: Endpoint | None, stack: ExitStack, view: View) -> Session:
    """Connect, so that this machine's messages are shown from the first one on."""
    topics = Topics(settings.mqtt.prefix)

    def show(topic: str, payload: bytes) -> None:
        try:
            sample = decode(topics.parse(topic), payload, now=datetime.now(UTC))
        except MessageError:
            return  # status and inventory; what is wrong with a message is the consumer's to say
        view.show(sample)

    session = Session(
        mqtt_options(settings, "up", endpoint),
        subscriptions=[topics.sample(settings.host, "+")],
        on_message=show,
    )
    session.open()
    stack.callback(session.close, seconds=1)
    end = time.monotonic() + _FIRST_CONNECTION_SECONDS
    while not session.connected and session.trouble is None and time.monotonic() < end:
        session.wait(0.1)
        session.service()
    if session.trouble is not None:
        view.warn(f"{session.trouble} (trying again)")
    return session
