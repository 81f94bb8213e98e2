"""Try settings, data, history, dead letters, broker, rules, notifications and collectors, and say what to mend."""

import argparse
import logging
import os
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from hostpulse.bus.errors import HostpulseError
from hostpulse.bus.lock import FileLock, is_held
from hostpulse.bus.mqtt import MqttOptions, Session
from hostpulse.bus.times import format_timestamp
from hostpulse.bus.topics import Topics
from hostpulse.config.settings import Settings
from hostpulse.consumer.alerting.journal import JOURNAL_FILE, Journal, NoJournalError
from hostpulse.consumer.alerting.service import LOCK_FILE
from hostpulse.consumer.alerts import load_rules
from hostpulse.consumer.delivery import read_account
from hostpulse.consumer.notifications import RoutesError, check_routes, unknown_tags
from hostpulse.consumer.storage import NoHistoryError
from hostpulse.consumer.stores import HISTORY_FILE
from hostpulse.publisher.collectors import MissingError, build
from hostpulse.publisher.machine import Machine
from hostpulse.stack.broker import find_nats_server, find_running

from .arguments import add_setting_options, choice, load_settings, mqtt_options
from .deadletter import dead_letters_of
from .notifications import route_options
from .permissions import Permissions, connect, try_permissions
from .rules import rule_sources
from .selection import open_history, place_of_history
from .terminal import clean, size

_MOST_HOSTS = 20
_SCARCE_BYTES = 100 * 1024 * 1024


class _Result(NamedTuple):
    """What a check found; `good` is None where it is neither right nor wrong."""

    good: bool | None
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a half."""
    parser.add_argument(
        "half",
        nargs="?",
        choices=["publish", "consume"],
        help="the half that is to run here; what the broker does not allow it is a failure then",
    )
    add_setting_options(parser, machine=True, broker=True)


def run(arguments: argparse.Namespace) -> int:
    """Run every check; return 1 if one failed."""
    loaded = load_settings(arguments)
    settings = loaded.settings
    logging.getLogger("hostpulse").addHandler(logging.NullHandler())  # what is wrong stands in the results
    checks: list[tuple[str, Callable[[Settings], Iterator[_Result]]]] = [
        ("settings", lambda settings: _settings(settings, loaded.warnings)),
        ("data", _data_directory),
        ("history", _history),
        ("delivery", _delivery),
        ("letters", _dead_letters),
        ("broker", lambda settings: _broker(settings, arguments.half)),
        ("rules", _rules),
        ("alerts", _alerts),
        ("notify", _notifications),
        ("collectors", _collectors),
    ]
    failed = False
    for name, check in checks:
        try:
            results = list(check(settings))
        except HostpulseError as error:
            results = [_Result(good=False, text=str(error))]
        for result in results:
            failed = failed or result.good is False
            mark = {True: "ok", False: "FAIL", None: "--"}[result.good]
            print(f"{mark:4} {name:10} {clean(result.text)}")
    return 1 if failed else 0


def _settings(settings: Settings, warnings: Sequence[str]) -> Iterator[_Result]:
    yield _Result(good=True, text=f"host {settings.host}, every {settings.interval:g} s")
    for warning in warnings:
        yield _Result(good=None, text=warning)


def _rules(settings: Settings) -> Iterator[_Result]:
    rules = load_rules(rule_sources(settings))
    own = settings.alerts.rules
    yield _Result(good=True, text=f"{len(rules)} in effect, {'the default ones' if own is None else f'with {own}'}")


def _alerts(settings: Settings) -> Iterator[_Result]:
    """Tell whether somebody evaluates the rules, and what fires."""
    lock = FileLock(settings.data_dir / LOCK_FILE)
    try:
        with Journal(settings.data_dir / JOURNAL_FILE).open() as journal:
            firing = len(journal.overview().alerts)
    except NoJournalError:
        yield _Result(good=None, text=f"no consumer has evaluated the rules in {settings.data_dir}")
        return
    count = "1 fires" if firing == 1 else f"{firing or 'none'} fire{'' if firing else 's'}"
    if is_held(lock.path):
        yield _Result(good=True, text=f"{count}, evaluated by process {lock.holder() or 'unknown'}")
    else:
        yield _Result(good=None, text=f"{count} by what was last known; nobody evaluates the rules now")


def _notifications(settings: Settings) -> Iterator[_Result]:
    """Tell for each route whether it can work; nothing is sent."""
    routes = route_options(settings)
    if not routes:
        yield _Result(good=None, text="no routes, so nobody is told; alerts.notify makes some (docs/notifications.md)")
    for route in routes:
        try:
            check_routes([route])
        except RoutesError as error:
            yield from (_Result(good=False, text=problem) for problem in error.problems)
        else:
            what = "a webhook" if route.webhook is not None else f"{len(route.apprise)} of Apprise"
            yield _Result(good=True, text=f"{route.name}: {what}, not tried; `hostpulse alerts test` does that")
    tags = {rule.name: rule.notify for rule in load_rules(rule_sources(settings))}
    yield from (_Result(good=None, text=line) for line in unknown_tags(tags, routes))


def _data_directory(settings: Settings) -> Iterator[_Result]:
    directory = settings.data_dir
    nearest = next((one for one in (directory, *directory.parents) if one.exists()), Path("/"))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        yield _Result(good=False, text=f"{nearest} cannot be written ({error.strerror}); set data_dir elsewhere")
        return
    status = os.statvfs(nearest) if hasattr(os, "statvfs") else None
    free = None if status is None else status.f_bavail * status.f_frsize
    if free is not None and free < _SCARCE_BYTES:
        yield _Result(good=False, text=f"{directory}: only {size(free)} are free; make room or set data_dir")
    else:
        yield _Result(good=True, text=f"{directory}{'' if free is None else f', {size(free)} free'}")


def _history(settings: Settings) -> Iterator[_Result]:
    place = place_of_history(settings)
    try:
        with open_history(settings) as reader:
            hosts = reader.hosts()
    except NoHistoryError:
        yield _Result(good=None, text=f"none yet in {place}; `hostpulse up` or `hostpulse consume` writes it")
        return
    count = "1 host" if len(hosts) == 1 else f"{len(hosts)} hosts"
    if settings.store.kind == "embedded":
        place += f", {size((settings.data_dir / HISTORY_FILE).stat().st_size)}"
    yield _Result(good=True, text=f"{place}, {count}")


def _delivery(settings: Settings) -> Iterator[_Result]:
    """Tell for each host what the consumer misses, and what it gave up in the last day."""
    account = read_account(settings.data_dir)
    if account is None:
        yield _Result(good=None, text=f"no consumer keeps account in {settings.data_dir}")
        return
    since = datetime.now(UTC) - timedelta(days=1)
    missing: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for one in account.missing:
        missing[one.host] += one.messages
    for loss in account.losses:
        if loss.at >= since:
            lost[loss.host] += loss.messages
    hosts = sorted(missing.keys() | lost.keys())
    for host in hosts[:_MOST_HOSTS]:
        yield _Result(good=None, text=f"{host}: {missing[host]} messages missing now, {lost[host]} lost in a day")
    if len(hosts) > _MOST_HOSTS:
        yield _Result(good=None, text=f"and {len(hosts) - _MOST_HOSTS} more hosts")
    if not hosts:
        when = format_timestamp(account.saved.timestamp())
        yield _Result(good=True, text=f"nothing is missing and nothing was lost in a day, said the consumer at {when}")


def _dead_letters(settings: Settings) -> Iterator[_Result]:
    letters = dead_letters_of(settings)
    number, newest = 0, None
    try:
        for _, letter in letters.entries():
            if letter is not None:
                number, newest = number + 1, letter
    except OSError as error:
        yield _Result(good=False, text=f"{letters.path} cannot be read ({error.strerror}); make it readable")
        return
    if newest is not None:
        count = "1 message" if number == 1 else f"{number} messages"
        what = f"{count} could not be used, the last at {newest.time} on {newest.topic}: {newest.reason}"
        yield _Result(good=None, text=f"{what}; `hostpulse deadletter list` shows more")


def _broker(settings: Settings, half: str | None) -> Iterator[_Result]:
    if settings.mqtt.host is None and find_running(settings.data_dir) is None:
        yield from _embedded_broker(settings)
        return
    options = mqtt_options(settings, f"check-{os.getpid()}")
    session = Session(options)
    try:
        connect(session, options)
    finally:
        session.close(seconds=1)
    yield _Result(good=True, text=f"{options.address}, MQTT {options.protocol}{' with TLS' if options.tls else ''}")
    if settings.mqtt.host is not None:  # the embedded one has no account but ours
        yield from _permissions(settings, options, half)


def _permissions(settings: Settings, options: MqttOptions, half: str | None) -> Iterator[_Result]:
    """Tell what each half may do at the broker.

    An account of one half only is right as it is. So what is missing is a failure where that half was asked for, or
    where neither half could work.
    """
    topics = Topics(settings.mqtt.prefix)
    may = try_permissions(options, topics, settings.host)
    useless = may.publish is not True and may.read_all is not True
    account = "without a login" if options.username is None else f"user {options.username}"
    own = f"{topics.sample(settings.host, '#')}"
    if half != "consume":
        good = may.publish or (False if half or useless else None)
        yield _Result(good, _publish_words(may, own, topics.check(settings.host), account))
    if half != "publish":
        good = may.read_all or (False if half or useless else None)
        yield _Result(good, _read_words(may, topics.all_hosts, account))
        if may.read_all:
            good = may.tell or (False if half else None)
            yield _Result(good, _tell_words(may, f"{settings.mqtt.prefix}/+/alert/#", account))


def _publish_words(may: Permissions, own: str, tried: str, account: str) -> str:
    if may.publish:
        return f"{account} may write {own}"
    fix = "`hostpulse publish` needs it; allow it in the broker's access rules (docs/brokers.md)"
    if may.publish is None:
        return f"{account} may not write {own}, or not read {tried}, where nothing came back; {fix}"
    return f"{account} may not write {own}; {fix}"


def _read_words(may: Permissions, filter_: str, account: str) -> str:
    if may.read_all:
        return f"{account} may read {filter_}"
    fix = "`hostpulse consume` needs it; allow it in the broker's access rules (docs/brokers.md)"
    if may.read_all is None:
        return f"{account} has seen nothing of other machines and may not read {filter_}, it seems; {fix}"
    return f"{account} may not read {filter_}; {fix}"


def _tell_words(may: Permissions, filter_: str, account: str) -> str:
    if may.tell:
        return f"{account} may write {filter_}"
    fix = "the role alerts needs it; allow it in the broker's access rules (docs/brokers.md)"
    if may.tell is None:
        return f"{account} may not write {filter_}, it seems: nothing came back; {fix}"
    return f"{account} may not write {filter_}; {fix}"


def _embedded_broker(settings: Settings) -> Iterator[_Result]:
    """Tell whether `hostpulse up` could start its broker."""
    program = find_nats_server()
    port = settings.broker.port
    with socket.socket() as probe:
        if os.name == "posix":  # as the broker does; elsewhere the option means something else
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            where = f"127.0.0.1:{port} ({error.strerror})"
            yield _Result(good=False, text=f"`hostpulse up` cannot listen on {where}; set broker.port, or mqtt.host")
            return
    yield _Result(good=None, text=f"none is set and none runs; `hostpulse up` starts {program} on 127.0.0.1:{port}")


def _collectors(settings: Settings) -> Iterator[_Result]:
    machine = Machine(
        proc=str(settings.roots.proc), sys=str(settings.roots.sys), filesystem=str(settings.roots.filesystem)
    )
    found: list[str] = []
    missing: list[str] = []
    advice: list[str] = []
    for collector in build(machine, choice(settings)):
        try:
            (found if collector.probe() else missing).append(collector.name)
        except MissingError as error:
            advice.append(f"{collector.name}: {error}")
        except OSError as error:
            yield _Result(good=False, text=f"{collector.name}: {error}")
    yield _Result(good=True, text=f"found {', '.join(found)}")
    yield from (_Result(good=None, text=line) for line in advice)
    if missing:
        yield _Result(good=None, text=f"nothing on this machine for {', '.join(missing)}")
    if disabled := settings.collect.disable:
        yield _Result(good=None, text=f"disabled by collect.disable: {', '.join(disabled)}")
