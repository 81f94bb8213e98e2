"""Routes of notifications in the commands: `check`, `rules check`, and the test that goes through them."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostpulse.bus.errors import UsageError
from hostpulse.cli.arguments import load_settings
from hostpulse.cli.notifications import add_test_action, route_options, run_test
from hostpulse.config.settings import Settings

from ..notifications.sinks import Answer, HttpSink, free_port
from .support import Hostpulse

SECRET = "hunter2-hunter2"


@pytest.fixture
def http() -> Iterator[HttpSink]:
    sink = HttpSink()
    yield sink
    sink.close()


def settings_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def notify_lines(hostpulse: Hostpulse, file: Path) -> list[str]:
    lines = hostpulse.run("check", "--config", file).stdout.splitlines()
    return [" ".join(line.split()) for line in lines if line.split()[1] == "notify"]


def test_check_without_routes(hostpulse: Hostpulse, tmp_path: Path) -> None:
    assert notify_lines(hostpulse, settings_file(tmp_path, "")) == [
        "-- notify no routes, so nobody is told; alerts.notify makes some (docs/notifications.md)"
    ]


def test_check_looks_at_every_route(hostpulse: Hostpulse, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text('[rule.disk_full]\nnotify = ["opps"]\n')
    (tmp_path / "no.pem").write_text("nothing")
    file = settings_file(
        tmp_path,
        f"""
        [alerts]
        rules = "{tmp_path}/rules.toml"
        [alerts.notify.good]
        apprise = ["json://anna:{SECRET}@127.0.0.1/x", "json://127.0.0.1/y"]
        tags = ["ops"]
        [alerts.notify.bad]
        apprise = ["nosuch://{SECRET}", "tgram://{SECRET}"]
        [alerts.notify.hook]
        webhook = "https://127.0.0.1/{SECRET}"
        [alerts.notify.certificate]
        webhook = "https://127.0.0.1/{SECRET}"
        ca_file = "{tmp_path}/no.pem"
        """,
    )
    lines = notify_lines(hostpulse, file)
    assert SECRET not in "\n".join(lines)
    assert lines[0] == "ok notify good: 2 of Apprise, not tried; `hostpulse alerts test` does that"
    assert lines[1].startswith("FAIL notify alerts.notify.bad has a URL that Apprise cannot use (")
    assert lines[2].startswith("FAIL notify alerts.notify.bad#2 has a URL that Apprise cannot use (")
    assert lines[3] == "ok notify hook: a webhook, not tried; `hostpulse alerts test` does that"
    assert lines[4].startswith("FAIL notify alerts.notify.certificate ca_file cannot be used (")
    assert lines[5:] == ["-- notify rule.disk_full.notify names the tag 'opps', which no route has; did you mean ops?"]


def test_rules_check_warns_of_tags_that_no_route_has(hostpulse: Hostpulse, tmp_path: Path) -> None:
    mine = tmp_path / "rules.toml"
    mine.write_text('[rule.disk_full]\nnotify = ["opps"]\n')
    file = settings_file(tmp_path, '[alerts.notify.good]\nwebhook = "https://127.0.0.1/"\ntags = "ops"\n')
    done = hostpulse.run("rules", "check", mine, "--config", file)
    assert done.returncode == 2  # tags is a list
    file.write_text(file.read_text().replace('"ops"', '["ops"]'))
    done = hostpulse.run("rules", "check", mine, "--config", file)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "hostpulse: warning: rule.disk_full.notify names the tag 'opps', which no route has; did you mean ops?",
        f"hostpulse: 27 rules are right, 1 in {mine}",
    ]
    assert hostpulse.run("rules", "check", mine).stderr == f"hostpulse: 27 rules are right, 1 in {mine}\n"


def test_config_show_masks_addresses(hostpulse: Hostpulse, tmp_path: Path) -> None:
    file = settings_file(
        tmp_path, f'[alerts.notify.good]\nwebhook = "https://127.0.0.1/{SECRET}"\nsecret = "{SECRET}"\n'
    )
    done = hostpulse.run("config", "show", "--config", file)
    assert done.returncode == 0
    assert SECRET not in done.stdout + done.stderr
    assert "alerts.notify.good.webhook" in done.stdout


def tried(tmp_path: Path, text: str, *names: str) -> int:
    parser = argparse.ArgumentParser()
    add_test_action(parser.add_subparsers(dest="action"))
    arguments = parser.parse_args(["test", "--config", str(settings_file(tmp_path, text)), *names])
    return run_test(arguments, load_settings(arguments).settings)


def test_a_test_says_of_each_route_whether_it_was_taken(
    tmp_path: Path, http: HttpSink, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"""
        host = "web-1"
        [alerts.notify.one]
        webhook = "{http.url}/{SECRET}"
        [alerts.notify.two]
        webhook = "http://127.0.0.1:{free_port()}/{SECRET}"
    """
    assert tried(tmp_path, text) == 1
    assert capsys.readouterr().out.splitlines() == [
        "ok   one",
        "FAIL two: 127.0.0.1: cannot be reached (Connection refused)",
    ]
    assert tried(tmp_path, text, "one") == 0
    assert capsys.readouterr().out == "ok   one\n"
    http.answers.append(Answer(404))
    assert tried(tmp_path, text, "one") == 1
    assert [request.document["alerts"][0]["host"] for request in http.requests] == ["web-1"] * 3


def test_a_test_of_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there are no routes, so nobody is told"):
        tried(tmp_path, "")
    with pytest.raises(UsageError, match=r"there is no route 'tow'; did you mean two\?"):
        tried(tmp_path, '[alerts.notify.two]\nwebhook = "http://127.0.0.1/"\n', "tow")


def test_all_that_is_set_reaches_the_route() -> None:
    route = {
        "webhook": "https://h/",
        "secret": "key",
        "ca_file": "/ca.pem",
        "level": "critical",
        "hosts": ["a"],
        "rules": ["b"],
        "tags": ["c"],
        "resolved": False,
        "group_wait": "1m",
        "maximum_per_hour": 7,
    }
    settings = Settings.model_validate({"alerts": {"notify": {"ops": route, "mail": {"apprise": ["json://h"]}}}})
    ops, mail = route_options(settings)
    assert (ops.name, ops.webhook, ops.secret, ops.ca_file) == ("ops", "https://h/", "key", "/ca.pem")
    assert (ops.level, ops.hosts, ops.rules, ops.tags, ops.resolved) == ("critical", ("a",), ("b",), ("c",), False)
    assert (ops.group_wait_seconds, ops.maximum_per_hour) == (60, 7)
    assert (mail.name, mail.apprise, mail.webhook) == ("mail", ("json://h",), None)
