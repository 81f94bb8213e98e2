"""Run everything on this machine: broker, publisher and consumer, until Ctrl+C.

Without `mqtt.host` an embedded broker is started on loopback; with it that broker is used.
"""

import argparse
import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime

from msgspec.structs import replace

from hostpulse import __version__
from hostpulse.bus.codec import decode
from hostpulse.bus.errors import HostpulseError, MessageError
from hostpulse.bus.mqtt import Session
from hostpulse.bus.topics import Topics
from hostpulse.config.settings import Settings
from hostpulse.consumer.roles import RolesOptions
from hostpulse.consumer.storage import StorageUnavailableError
from hostpulse.consumer.storage.embedded import open_writer
from hostpulse.consumer.stores import HISTORY_FILE
from hostpulse.publisher.service import PublisherOptions
from hostpulse.stack.broker import EmbeddedBroker, Endpoint
from hostpulse.stack.lock import only_run
from hostpulse.stack.process import Child

from .arguments import add_setting_options, load_settings, mqtt_options, publisher_options, warn
from .consume import roles_options
from .launch import command_of, encode_options
from .selection import place_of_history
from .terminal import size
from .view import View

_STOP_SECONDS = 9.0  # for everything together
_CONSUMER_STOP_SECONDS = 1.5  # what the consumer is left of them at least, and the broker the same
_REFRESH_SECONDS = 1.0
_SETTLE_SECONDS = 15.0
_LEAST_FREE_BYTES = 4 * 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the settings; this command has no arguments of its own."""
    add_setting_options(parser, machine=True, broker=True)


def run(arguments: argparse.Namespace) -> int:
    """Start everything, show what comes, and stop everything in order."""
    settings = warn(load_settings(arguments))
    # What our own connection has to say of the broker, publisher and consumer say as well.
    logging.getLogger("hostpulse").addHandler(logging.NullHandler())
    stop = _Stop()
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):  # nohup
            continue
        signal.signal(number, lambda *_: stop.ask())
    with View(least=settings.log_level) as view, only_run(settings.data_dir), ExitStack() as stack:
        view.say(f"hostpulse {__version__} on {settings.host}, every {settings.interval:g} s")
        view.say(f"data       {settings.data_dir}")
        _try_history(settings)
        endpoint = _start_broker(settings, stack, stop, view)
        session = _listen(settings, endpoint, stack, view)
        stop.session = session

        # It shows that it is connected in its log, whatever of that is to be seen.
        log_level = "info" if settings.log_level != "debug" else "debug"
        consumer = replace(roles_options(settings, endpoint), log_level=log_level)
        settled = threading.Event()

        def settle() -> None:
            settled.set()
            session.wake()

        _start("consumer", consumer, stack, stop, view, on_first_line=settle, keep=_CONSUMER_STOP_SECONDS)
        view.say(f"consumer   writes {place_of_history(settings)}")
        # The broker must know that there is a consumer before the first message comes. A broker that is away does
        # not know the publisher either.
        _serve(session, view, until=lambda: settled.is_set() or stop.asked, seconds=_SETTLE_SECONDS)

        publisher = publisher_options(settings, mqtt_options(settings, "publisher", endpoint))
        publisher = replace(publisher, heartbeat_file=None)  # the consumer's says that all of it works
        _start("publisher", publisher, stack, stop, view, keep=2 * _CONSUMER_STOP_SECONDS)
        view.say(f"publisher  sends to {publisher.mqtt.address} as {settings.mqtt.prefix}/{settings.host}/…")
        view.say("Ctrl+C ends everything; `hostpulse export cpu --since 1m` shows what was stored,")
        view.say("`hostpulse alerts list` what is wrong")
        _serve(session, view, until=lambda: stop.asked)
        view.say("stopping")
    return 0


class _Stop:
    """The wish to end, and how much time is left to do so."""

    def __init__(self) -> None:
        self.asked = False
        self.session: Session | None = None
        self._end: float | None = None

    def ask(self) -> None:
        """Have the main loop end; for signal handlers."""
        self.asked = True
        if self.session is not None:
            self.session.wake()

    def left(self, keep: float) -> float:
        """Return the seconds that something may take to end; the first to ask starts the clock.

        Args:
            keep: seconds for what has to end after it.
        """
        if self._end is None:
            self._end = time.monotonic() + _STOP_SECONDS
        return max(0.1, self._end - time.monotonic() - keep)


def _serve(session: Session, view: View, *, until: Callable[[], bool], seconds: float = float("inf")) -> None:
    """Take what comes and show it, until something is so or the time is over."""
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        session.service()
        session.wait(_REFRESH_SECONDS)
        view.refresh()


def _start_broker(settings: Settings, stack: ExitStack, stop: _Stop, view: View) -> Endpoint | None:
    """Start the embedded broker, unless the settings name one."""
    if settings.mqtt.host is not None:
        return None
    broker = EmbeddedBroker(settings.data_dir, settings.broker.port, on_line=view.warn, on_death=view.death)
    stack.callback(lambda: broker.stop(stop.left(0)))
    endpoint = broker.start()
    view.say(f"broker     embedded nats-server on {endpoint.host}:{endpoint.port}, user {endpoint.username},")
    view.say(f"           password in {settings.data_dir / 'broker' / 'password'}")
    return endpoint


def _try_history(settings: Settings) -> None:
    """Fail now, with a sentence, if the history cannot be written; broker and consumer would try for ever."""
    free = shutil.disk_usage(settings.data_dir).free
    if free < _LEAST_FREE_BYTES:
        raise HostpulseError(
            f"the disk of {settings.data_dir} is full ({size(free)} free): make room on it, or set another data_dir"
        )
    if settings.store.kind != "embedded":
        return  # what is wrong there is the consumer's to say; it may be mended while the broker keeps what comes
    with suppress(StorageUnavailableError):  # that may pass, such as the consumer of a run that was killed just now
        open_writer(
            settings.data_dir / HISTORY_FILE,
            retention=settings.store.retention_seconds,
            rollup_retention=settings.store.rollup_retention_seconds,
        ).close()


def _start(
    name: str,
    options: PublisherOptions | RolesOptions,
    stack: ExitStack,
    stop: _Stop,
    view: View,
    *,
    keep: float,
    on_first_line: Callable[[], None] = lambda: None,
) -> None:
    """Start one service; the stack stops it before what was started earlier."""

    def report(line: str) -> None:
        if not line.startswith(f"{name}: DEBUG "):
            on_first_line()
        view.report(line)

    child = Child(name, command_of(options), input=encode_options(options), on_line=report, on_death=view.death)
    stack.callback(lambda: child.stop(stop.left(keep)))
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
    stack.callback(session.close, seconds=0.5)
    return session
