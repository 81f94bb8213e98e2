"""`hostpulse deadletter` with the files that a real consumer writes, and beside one that runs."""

import base64
import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
import time
from collections.abc import Callable

import pytest

from hostpulse.bus.codec import encode
from hostpulse.bus.errors import MalformedError, MessageError, TimestampError, WrongVersionError
from hostpulse.bus.messages import Cpu
from hostpulse.consumer.dead_letter import DeadLetter, DeadLetterFile

from ..brokers import Broker
from ..bus.clients import Feeder
from .support import SECONDS, Hostpulse, Running, eventually
from .test_halves import at

QUESTION = "drop 2 messages: 1 wrong_version, 1 malformed? [y/N] "
CPU = b"hostpulse/web-1/cpu"


def message(load: float, *, host: str = "web-1", ahead: float = 0.0) -> bytes:
    return encode(
        Cpu(load_average_1m=load),
        host=host,
        subsystem="cpu",
        timestamp=time.time() - 60 + load + ahead,
        sequence=int(load) + 1,
        session=time.time() - 1000,
        interval=2,
    )


def letter(payload: bytes, topic: bytes = CPU, error: MessageError | None = None) -> DeadLetter:
    return DeadLetter(topic, payload, error or WrongVersionError("version 1, this is version 0"))


def keep(hostpulse: Hostpulse, *letters: DeadLetter, ago: float = 0.0) -> DeadLetterFile:
    found = DeadLetterFile(hostpulse.data / "dead-letter.jsonl", wall=lambda: time.time() - ago)
    found.keep(letters)
    return found


def loads(hostpulse: Hostpulse) -> list[float]:
    done = hostpulse.run("export", "cpu", "--format", "jsonl", "--since", "1h")
    return [json.loads(line)["load_average_1m"] for line in done.stdout.splitlines()]


def run(hostpulse: Hostpulse, *arguments: object) -> tuple[int, list[str], list[str]]:
    done = hostpulse.run("deadletter", *arguments)
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def test_nothing_is_there(hostpulse: Hostpulse) -> None:
    for action in ("list", "retry", "drop"):
        assert run(hostpulse, action) == (0, [], [f"hostpulse: there are no dead letters in {hostpulse.data}"])
    assert not hostpulse.data.exists()
    assert "letters" not in hostpulse.run("check").stdout


def test_the_table_has_a_line_for_each_topic_and_kind(hostpulse: Hostpulse) -> None:
    keep(hostpulse, letter(b"{" * 3000), letter(b"{", error=MalformedError("first")), ago=7200)
    keep(
        hostpulse,
        letter(b"{}", error=MalformedError("\x1b[2Jsecond\nline\u202e")),
        letter(b"x", b"hostpulse/\x1b[m\xff/cpu"),
    )
    code, lines, told = run(hostpulse, "list")
    assert code == 0
    assert told == ["hostpulse: 4 messages: 2 wrong_version, 2 malformed"]
    assert [line.split()[2:] for line in lines[1:]] == [
        ["1", "2.9", "KiB", "wrong_version", "hostpulse/web-1/cpu", "version", "1,", "this", "is", "version", "0"],
        ["2", "2", "B", "malformed", "hostpulse/web-1/cpu", "�[2Jsecond�line�"],
        ["1", "1", "B", "wrong_version", "hostpulse/�[m�/cpu", "version", "1,", "this", "is", "version", "0"],
    ]
    assert lines[0].split() == ["last", "number", "size", "kind", "topic", "reason", "of", "the", "last"]


def test_json_has_each_message_with_its_payload(hostpulse: Hostpulse) -> None:
    keep(hostpulse, letter('{"ü":"\x1b[2J\u009b"}'.encode()), letter(b"\xff\x00"), ago=60)
    code, lines, _ = run(hostpulse, "list", "--json")
    assert code == 0
    assert all(line.isascii() and line.isprintable() for line in lines)
    text, binary = map(json.loads, lines)
    assert text["payload"] == '{"ü":"\x1b[2J\u009b"}'
    assert (text["topic"], text["kind"], text["bytes"]) == (
        CPU.decode(),
        "wrong_version",
        len(text["payload"].encode()),
    )
    assert base64.b64decode(binary["payload_base64"]) == b"\xff\x00"
    assert "payload" not in binary


def test_filters(hostpulse: Hostpulse) -> None:
    keep(hostpulse, letter(b"old"), ago=7200)
    keep(hostpulse, letter(b"other", b"hostpulse/web-2/cpu", MalformedError("not JSON")), letter(b"last"))

    def found(*arguments: str) -> list[str]:
        return [json.loads(line)["payload"] for line in run(hostpulse, "list", "--json", *arguments)[1]]

    assert found() == ["old", "other", "last"]
    assert found("--since", "1h") == ["other", "last"]
    assert found("--until", "1h") == ["old"]
    assert found("--topic", "hostpulse/+/cpu", "--since", "1h") == ["other", "last"]
    assert found("--topic", "hostpulse/web-2/#") == ["other"]
    assert found("--kind", "malformed") == ["other"]
    assert found("--reason", "VERSION 1") == ["old", "last"]
    assert run(hostpulse, "list", "--topic", "nothing") == (
        0,
        [],
        [f"hostpulse: none of the dead letters in {hostpulse.data} is like that"],
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "the following arguments are required: ACTION"),
        (("show",), "invalid choice: 'show'"),
        (("list", "--kind", "malfomed"), "--kind malfomed: there is no such kind; did you mean malformed?"),
        (("list", "--since", "yesterday"), "--since 'yesterday' is not a time"),
        (("list", "--since", "1h", "--until", "2h"), "--since 1h is not before --until 2h"),
        (("list", "--yes"), "there is no option '--yes'"),
    ],
)
def test_wrong_use_is_one_line(hostpulse: Hostpulse, arguments: tuple[str, ...], complaint: str) -> None:
    code, lines, told = run(hostpulse, *arguments)
    assert (code, lines) == (2, [])
    [line] = told
    assert complaint in line


def test_drop_needs_a_terminal_or_yes(hostpulse: Hostpulse) -> None:
    kept = keep(hostpulse, letter(b"1"), letter(b"{", error=MalformedError("not JSON")))
    assert run(hostpulse, "drop") == (2, [], ["hostpulse: drop asks on a terminal, and this is none; say --yes"])
    assert len(list(kept.entries())) == 2
    assert run(hostpulse, "drop", "--yes", "--kind", "malformed") == (0, [], ["hostpulse: 1 message dropped"])
    assert [entry.letter.payload for entry in kept.entries() if entry.letter] == [b"1"]
    assert run(hostpulse, "drop", "--yes")[0] == 0
    assert not kept.path.exists()


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 2), ("\n", 1, 2), ("\x03", 130, 2)])
def test_drop_asks_on_a_terminal(hostpulse: Hostpulse, answer: str, code: int, left: int) -> None:
    kept = keep(hostpulse, letter(b"1"), letter(b"{", error=MalformedError("not JSON")))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        hostpulse.command("deadletter", "drop"),
        env=hostpulse.environment,
        stdin=theirs,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509  the child has one thread
    ) as process:
        assert process.stderr
        question = process.stderr.read(len(QUESTION)).decode()
        os.write(ours, answer.encode())
        assert process.wait(SECONDS) == code
    os.close(ours)
    os.close(theirs)
    assert question == QUESTION
    assert len(list(kept.entries())) == left


def test_lines_that_nobody_can_read_are_said_and_dropped_with_all(hostpulse: Hostpulse) -> None:
    kept = keep(hostpulse, letter(b"1"))
    with kept.path.open("ab") as file:
        file.write(b"nonsense\n")
    [_, told] = run(hostpulse, "list")[2]
    assert told.startswith("hostpulse: 1 line of dead-letter.jsonl cannot be read; `hostpulse deadletter drop` without")
    assert run(hostpulse, "drop", "--yes", "--kind", "wrong_version")[2] == ["hostpulse: 1 message dropped"]
    assert kept.path.read_bytes() == b"nonsense\n"
    assert run(hostpulse, "retry")[0] == 0
    assert run(hostpulse, "drop", "--yes")[2] == ["hostpulse: 1 message dropped"]
    assert not kept.path.exists()


def test_retry_without_a_consumer_stores_by_itself(hostpulse: Hostpulse) -> None:
    kept = keep(hostpulse, letter(message(1)), letter(b"{"), letter(message(2)))
    assert run(hostpulse, "retry") == (1, [], ["hostpulse: 2 stored, 1 still unusable"])
    assert loads(hostpulse) == [1, 2]
    assert [(one.letter.kind, one.letter.payload) for one in kept.entries() if one.letter] == [("malformed", b"{")]
    keep(hostpulse, letter(message(3)))
    assert run(hostpulse, "retry", "--kind", "wrong_version") == (0, [], ["hostpulse: 1 stored"])
    assert loads(hostpulse) == [1, 2, 3]


def test_retry_beside_a_consumer_is_done_by_it(hostpulse: Hostpulse, make_broker: Callable[..., Broker]) -> None:
    broker = make_broker("mosquitto")
    consumer = hostpulse.start("consume", *at(broker))
    consumer.says("connected to broker")
    kept = keep(hostpulse, letter(message(1)))
    with Feeder(broker.options("vandal")) as feeder:
        feeder.send([b"{"], topic=CPU.decode())
        feeder.send([message(5, ahead=2 * 86_400)], topic=CPU.decode())
    eventually(lambda: len(list(kept.entries())) == 3, what=lambda: consumer.output)
    assert run(hostpulse, "retry") == (1, [], ["hostpulse: 1 stored, 2 still unusable"])
    consumer.says("dead letters were tried again: 1 stored, 2 still unusable")
    assert loads(hostpulse) == [1]
    assert {one.letter.kind for one in kept.entries() if one.letter} == {MalformedError.kind, TimestampError.kind}
    # And it goes on.
    with Feeder(broker.options("publisher")) as feeder:
        feeder.send([message(2)], topic=CPU.decode())
    eventually(lambda: loads(hostpulse) == [1, 2], what=lambda: consumer.output)
    assert consumer.end() == 0
    assert "Traceback" not in consumer.output


def test_retry_beside_a_consumer_that_stands_still_can_be_interrupted(
    hostpulse: Hostpulse, make_broker: Callable[..., Broker]
) -> None:
    broker = make_broker("mosquitto")
    consumer = hostpulse.start("consume", *at(broker))
    consumer.says("connected to broker")
    keep(hostpulse, letter(message(1)))
    consumer.process.send_signal(signal.SIGSTOP)
    try:
        command: Running = hostpulse.start("deadletter", "retry")
        request = hostpulse.data / "dead-letter-retry.json"
        eventually(request.exists, what=lambda: command.output)
        second = hostpulse.run("deadletter", "retry")
        assert second.returncode == 1
        assert f"another `hostpulse deadletter retry` runs (process {command.process.pid})" in second.stderr
        assert command.end(signal.SIGINT) == 130
        assert not request.exists()
        assert command.output == ""
    finally:
        consumer.process.send_signal(signal.SIGCONT)


def test_check_says_that_there_are_some(hostpulse: Hostpulse) -> None:
    keep(hostpulse, letter(b"1"), letter(b"{", b"hostpulse/\x1b/cpu", MalformedError("not JSON")))
    done = hostpulse.run("check")
    assert done.returncode == 0
    [line] = [line for line in done.stdout.splitlines() if " letters " in line]
    assert line.startswith("--   letters    2 messages could not be used, the last at 2")
    assert line.endswith(" on hostpulse/�/cpu: not JSON; `hostpulse deadletter list` shows more")


def take_terminal() -> None:
    """Make standard input the terminal of this session, so that Ctrl+C in it is SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
