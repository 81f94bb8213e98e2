"""The publisher as a process, with a real broker, on the tree of a machine."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hostpulse.bus.inventory import Inventory
from hostpulse.bus.topics import Topics

from ..drives import answer, install, scan
from .processes import DEADLINE_SECONDS, HOST

EXPECTED = {"cpu", "memory", "disk", "network", "sensors", "battery", "system", "publisher"}
STATUS, INFO = Topics().status(HOST), Topics().info(HOST)


def samples_of(subscriber: Any, subsystem: str) -> list[Any]:
    return [sample for sample in subscriber.samples() if sample.envelope.subsystem == subsystem]


def test_life_of_a_publisher(tree_of: Callable[[str], Any], subscribe: Any, publish: Any) -> None:
    tree = tree_of("laptop")
    subscriber = subscribe()
    process = publish(tree, choice={"ignore_devices": ["zram*"], "ignore_interfaces": ["lo"]})
    subscriber.wait_for(lambda: {one.envelope.subsystem for one in subscriber.samples()} >= EXPECTED)
    count = len(subscriber.messages)
    subscriber.wait_for(lambda: len(subscriber.messages) >= count + 10)

    latest: dict[str, Any] = {}
    for sample in subscriber.samples():
        assert sample.envelope.host == HOST
        one = latest.setdefault(sample.envelope.subsystem, {})
        for name, value in msgspec.to_builtins(sample.fields).items():
            one[name] = one.get(name, {}) | value if isinstance(value, dict) else value
    # what the tree says
    assert latest["system"]["hostname"] == "thinkpad"
    assert latest["system"]["uptime_seconds"] == 412873.61
    assert latest["memory"]["total_bytes"] == 16472477696
    assert latest["battery"]["pack"]["BAT0"]["state"] == "discharging"
    assert latest["sensors"]["temperature"]["nvme0_composite"]["temperature_celsius"] in {35.8, 35.9}
    assert set(latest["network"]["interface"]) == {"wlp0s20f3"}
    assert latest["network"]["received_bytes_per_second"] == 0  # nothing changes in this tree
    assert latest["disk"]["device"].keys() == {"nvme0n1", "dm-0"}
    assert latest["cpu"]["load_average_1m"] == 0.64
    assert latest["publisher"]["collector"]["cpu"]["state"] == "ok"

    # a late subscriber learns that the machine is there and what it is, and nothing old
    late = subscribe()
    late.wait_for(lambda: late.last(STATUS) and late.last(INFO))
    assert late.last(STATUS) == b"online"
    inventory = msgspec.json.decode(late.last(INFO), type=Inventory)
    assert (inventory.host, inventory.product) == (HOST, "21CBCTO1WW")
    assert {topic for topic, _, retained in late.messages if retained} == {STATUS, INFO}

    process.send_signal(signal.SIGTERM)
    subscriber.wait_for(lambda: subscriber.last(STATUS) == b"offline")
    _, talk = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0
    assert b"Traceback" not in talk
    assert subscriber.messages[-1][0] == STATUS  # nothing after it

    sequences: dict[str, list[int]] = {}
    stamps: dict[str, list[Any]] = {}
    for sample in subscriber.samples():
        sequences.setdefault(sample.envelope.subsystem, []).append(sample.envelope.sequence)
        stamps.setdefault(sample.envelope.subsystem, []).append(sample.envelope.timestamp)
    for subsystem, found in sequences.items():
        assert found == list(range(1, len(found) + 1)), subsystem
        assert stamps[subsystem] == sorted(set(stamps[subsystem])), subsystem
    assert len({sample.envelope.session for sample in subscriber.samples()}) == 1


def test_publisher_that_is_killed_is_said_to_be_offline(
    tree_of: Callable[[str], Any], subscribe: Any, publish: Any
) -> None:
    subscriber = subscribe()
    process = publish(tree_of("vm"))
    subscriber.wait_for(lambda: subscriber.last(STATUS) == b"online" and subscriber.samples())
    process.kill()
    subscriber.wait_for(lambda: subscriber.last(STATUS) == b"offline")
    late = subscribe()
    late.wait_for(lambda: late.last(STATUS) == b"offline")


def test_second_start_is_a_new_session(tree_of: Callable[[str], Any], subscribe: Any, publish: Any) -> None:
    tree, subscriber = tree_of("vm"), subscribe()
    for _ in range(2):
        count = len(subscriber.messages)
        process = publish(tree, choice={"disable": ["disk", "sensors"]})
        subscriber.wait_for(lambda before=count: len(subscriber.messages) > before + 8)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0
    subscriber.wait_for(lambda: subscriber.last(STATUS) == b"offline")
    sessions: dict[Any, list[int]] = {}
    for sample in subscriber.samples():
        assert sample.envelope.subsystem not in {"disk", "sensors"}
        if sample.envelope.subsystem == "cpu":
            sessions.setdefault(sample.envelope.session, []).append(sample.envelope.sequence)
    assert len(sessions) == 2
    assert all(found == list(range(1, len(found) + 1)) for found in sessions.values())


def test_what_was_sampled_without_a_broker_follows(
    tree_of: Callable[[str], Any], broker: Any, subscribe: Any, publish: Any
) -> None:
    broker.stop()
    process = publish(tree_of("vm"))
    time.sleep(2.5)  # samples are taken meanwhile
    broker.start()
    subscriber = subscribe()
    # the publisher may have been quicker than the subscriber; what it sends from here on has no gap
    subscriber.wait_for(lambda: len(subscriber.samples()) > 12)
    found = [one.envelope.sequence for one in subscriber.samples() if one.envelope.subsystem == "cpu"]
    assert found == list(range(found[0], found[0] + len(found)))
    process.send_signal(signal.SIGTERM)
    _, talk = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0
    assert talk.count(b"WARNING") == 1  # the refused connection is said once, not at each attempt
    assert b"connected to broker" in talk


def test_certificate_that_is_not_there_is_one_line(tree_of: Callable[[str], Any], publish: Any) -> None:
    options = {"host": "127.0.0.1", "port": 1, "client_id": "x", "tls": True, "ca_file": "/nowhere/ca.pem"}
    process = publish(tree_of("vm"), mqtt=options)
    _, talk = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 1
    assert talk.decode().splitlines() == ["ERROR mqtt.ca_file /nowhere/ca.pem: No such file or directory"]


def test_health_of_drives(
    tree_of: Callable[[str], Any], subscribe: Any, publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"scan": scan({"sda": "sat", "nvme0": "nvme"})}
    answers |= {"/dev/sda": answer("made/hdd-failing"), "/dev/nvme0": answer("made/nvme")}
    calls = install(tmp_path / "bin", answers)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    subscriber = subscribe()
    process = publish(tree_of("laptop"))
    subscriber.wait_for(lambda: samples_of(subscriber, "smart"))
    (sample,) = samples_of(subscriber, "smart")
    assert sample.envelope.interval == 1800
    assert {key: (drive.device, drive.healthy) for key, drive in sample.fields.drive.items()} == {
        "INVHDD0001": ("sda", False),
        "INVNVME0001": ("nvme0", True),
    }
    assert calls.read_text().splitlines() == [
        "--json --scan-open",
        "--json -a -d sat -n standby,3,5 /dev/sda",
        "--json -a -d nvme -n standby,3,5 /dev/nvme0",
    ]
    process.send_signal(signal.SIGTERM)
    _, talk = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, b"WARNING" in talk) == (0, False)


def test_drive_that_hangs_holds_up_neither_the_other_collectors_nor_the_end(
    tree_of: Callable[[str], Any], subscribe: Any, publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = install(tmp_path / "bin", {"scan": scan({"sda": "sat"})})
    os.mkfifo(tmp_path / "bin" / "sda.json")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    subscriber = subscribe()
    process = publish(tree_of("laptop"))
    subscriber.wait_for(lambda: calls.exists() and "/dev/sda" in calls.read_text())
    count = len(samples_of(subscriber, "cpu"))
    subscriber.wait_for(lambda: samples_of(subscriber, "sensors") and len(samples_of(subscriber, "cpu")) > count + 4)
    assert not samples_of(subscriber, "smart")
    process.send_signal(signal.SIGTERM)
    subscriber.wait_for(lambda: subscriber.last(STATUS) == b"offline")
    # the drive answers, and what hung ends; it has our standard error, too
    (tmp_path / "bin" / "sda.json").write_bytes(answer("made/hdd"))
    process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0


def test_a_right_that_is_missing_is_said_once_at_the_start(
    tree_of: Callable[[str], Any], subscribe: Any, publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine on which nobody may ask drives: what is found cannot be opened."""
    calls = install(tmp_path / "bin", {"scan": answer("qemu/scan-denied")})
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    subscriber = subscribe()
    process = publish(tree_of("laptop"))
    subscriber.wait_for(calls.exists)
    count = len(samples_of(subscriber, "cpu"))
    subscriber.wait_for(lambda: len(samples_of(subscriber, "cpu")) > count + 6)
    process.send_signal(signal.SIGTERM)
    _, talk = process.communicate(timeout=DEADLINE_SECONDS)
    line = "INFO collector smart: smartctl may not ask the drives; docs/privileges.md names the rights that it takes"
    assert [one for one in talk.decode().splitlines() if "smart" in one] == [line]
    assert not samples_of(subscriber, "smart")
