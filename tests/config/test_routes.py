"""Routes of notifications: tables whose names people choose."""

import pytest

from hostpulse.config.errors import SettingsError
from hostpulse.config.routes import Route
from hostpulse.config.show import MASK, describe

from .conftest import Place

FILE = "~~/xdg/hostpulse/config.toml"
URL = "ntfy://ntfy.sh/topic"
SECRET = "hunter2-hunter2"


def secrets_of(route: Route) -> tuple[str, ...]:
    return tuple(secret.get_secret_value() for secret in route.apprise)


def test_a_route_is_made_of_all_sources_key_by_key(place: Place) -> None:
    place.write("etc/config.toml", f'[alerts.notify.ops]\napprise = "{URL}"\nlevel = "critical"\n')
    place.write("secrets/hostpulse_alerts__notify__hook__webhook", f"https://example.org/{SECRET}\n")
    key = place.write("key", f"{SECRET}\n")
    loaded = place.load(
        {
            "HOSTPULSE_ALERTS__NOTIFY__OPS__HOSTS": "web-*, !web-test",
            "HOSTPULSE_ALERTS__NOTIFY__HOOK__SECRET_FILE": str(key),
        },
        toml='[alerts.notify.ops]\nlevel = "warning"\ntags = ["ops"]\ngroup_wait = "1m"\n',
        alerts__notify__ops__maximum_per_hour="6",
    )
    assert set(loaded.settings.alerts.notify) == {"ops", "hook"}
    ops, hook = loaded.settings.alerts.notify["ops"], loaded.settings.alerts.notify["hook"]
    assert secrets_of(ops) == (URL,)
    assert (ops.level, ops.hosts, ops.tags, ops.maximum_per_hour) == ("warning", ("web-*", "!web-test"), ("ops",), 6)
    assert ops.group_wait_seconds == 60
    assert hook.webhook is not None
    assert hook.webhook.get_secret_value() == f"https://example.org/{SECRET}"
    assert hook.secret is not None
    assert hook.secret.get_secret_value() == SECRET
    assert loaded.origins["alerts.notify.ops.level"] == str(place.user_file)
    assert loaded.origins["alerts.notify.ops.apprise"] == str(place.system_file)
    assert loaded.origins["alerts.notify.ops.hosts"] == "HOSTPULSE_ALERTS__NOTIFY__OPS__HOSTS"
    assert loaded.origins["alerts.notify.hook.secret"] == "HOSTPULSE_ALERTS__NOTIFY__HOOK__SECRET_FILE"
    assert loaded.origins["alerts.notify.hook.level"] == "default"


@pytest.mark.parametrize(
    "text",
    ["mailto://a:b@h?to=x@h,y@h ntfy://ntfy.sh/t", "mailto://a:b@h?to=x@h,y@h\nntfy://ntfy.sh/t\n"],
)
def test_urls_with_commas_stand_between_spaces_or_lines(place: Place, text: str) -> None:
    place.write("secrets/hostpulse_alerts__notify__mail__apprise", text)
    route = place.load().settings.alerts.notify["mail"]
    assert secrets_of(route) == ("mailto://a:b@h?to=x@h,y@h", "ntfy://ntfy.sh/t")


def test_secrets_are_masked_and_everything_else_is_shown(place: Place) -> None:
    toml = f'[alerts.notify.ops]\napprise = ["ntfy://{SECRET}@h/t"]\nrules = ["disk_*"]\n'
    toml += f'[alerts.notify.hook]\nwebhook = "https://h/{SECRET}"\nsecret = "{SECRET}"\n'
    loaded = place.load(toml=toml)
    lines = {line.key: line.value for line in describe(loaded)}
    assert lines["alerts.notify.ops.apprise"] == MASK
    assert lines["alerts.notify.ops.webhook"] == "not set"
    assert lines["alerts.notify.ops.rules"] == '["disk_*"]'
    assert lines["alerts.notify.hook.webhook"] == lines["alerts.notify.hook.secret"] == MASK
    assert lines["alerts.notify.hook.apprise"] == "not set"
    keys = list(lines)
    assert keys.index("alerts.rules") < keys.index("alerts.notify.ops.apprise") < keys.index("roots.proc")
    assert SECRET not in repr(lines) + repr(loaded) + loaded.settings.model_dump_json()


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("[alerts]\nnotify = 3", "alerts.notify is a section; write [alerts.notify.ops] and its keys below it"),
        (
            "[alerts.notify.ops]",
            "alerts.notify.ops is a section; write [alerts.notify.ops] and its keys below it, such as apprise",
        ),
        (
            f"[alerts.notify]\nops = '{URL}'",
            "alerts.notify.ops is a section; write [alerts.notify.ops] and its keys below it, such as apprise",
        ),
        (
            f"[alerts.notify.Ops]\napprise = '{URL}'",
            (
                "there is no section alerts.notify.Ops; a name is of small letters, digits and single underscores, "
                "such as ops"
            ),
        ),
        (
            f"[alerts.notify.on-call]\napprise = '{URL}'",
            (
                "there is no section alerts.notify.on-call; a name is of small letters, digits and single underscores, "
                "such as ops"
            ),
        ),
        (
            f"[alerts.notify.ops]\nurl = '{URL}'\napprise = '{URL}'",
            "there is no setting alerts.notify.ops.url",
        ),
        (
            f"[alerts.notify.ops]\naprise = '{URL}'",
            "there is no setting alerts.notify.ops.aprise; did you mean alerts.notify.ops.apprise?",
        ),
        (
            f"[alerts.notfy.ops]\napprise = '{URL}'",
            "there is no section alerts.notfy; did you mean alerts.notify?",
        ),
        (
            "[alerts.notify.ops]\nlevel = 'critical'",
            "alerts.notify.ops has neither apprise nor webhook, so it leads nowhere; set one of them",
        ),
        (
            f"[alerts.notify.ops]\napprise = '{URL}'\nwebhook = 'https://h/'",
            "alerts.notify.ops has both apprise and webhook; make two routes of it",
        ),
        (
            f"[alerts.notify.ops]\napprise = '{URL}'\nsecret = 'x'",
            "alerts.notify.ops.secret has no effect without webhook",
        ),
        (
            "[alerts.notify.ops]\nwebhook = 'https://h/'\nca_file = '/nowhere'",
            "alerts.notify.ops.ca_file (/nowhere) cannot be read: No such file or directory",
        ),
        (
            f"[alerts.notify.ops]\napprise = '{SECRET}'",
            (
                "alerts.notify.ops.apprise must be a URL of Apprise such as ntfy://ntfy.sh/topic; "
                "docs/notifications.md has more"
            ),
        ),
        ("[alerts.notify.ops]\napprise = 5", "alerts.notify.ops.apprise must be a list"),
        (f"[alerts.notify.ops]\napprise = ['{URL}', 5]", "alerts.notify.ops.apprise must be text in quotes"),
        (
            f"[alerts.notify.ops]\nwebhook = 'ftp://{SECRET}/'",
            "alerts.notify.ops.webhook must be an address such as https://example.org/hook",
        ),
        (
            f"[alerts.notify.ops]\napprise = '{URL}'\nlevel = 'ok'",
            "alerts.notify.ops.level must be warning or critical, not 'ok'",
        ),
        (
            f"[alerts.notify.ops]\napprise = '{URL}'\ngroup_wait = '2h'",
            "alerts.notify.ops.group_wait must be at most 1h, not '2h'",
        ),
        (
            f"[alerts.notify.ops]\napprise = '{URL}'\ngroup_wait = 10",
            "alerts.notify.ops.group_wait must be text in quotes, not 10",
        ),
        (
            f"[alerts.notify.ops]\napprise = '{URL}'\nmaximum_per_hour = 0",
            "alerts.notify.ops.maximum_per_hour must be at least 1, not 0",
        ),
    ],
)
def test_mistakes_in_a_file(place: Place, toml: str, line: str) -> None:
    assert place.problems(toml=toml) == [f"{FILE}: {line}"]


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        (
            "HOSTPULSE_ALERTS__NOTIFY__OPS__APRISE",
            "no setting has this name; did you mean HOSTPULSE_ALERTS__NOTIFY__OPS__APPRISE?",
        ),
        (
            "HOSTPULSE_ALERTS__NOTIFY__OPS_APPRISE",
            "alerts.notify.ops_apprise is a section; set one of its keys, such as ",
        ),
        (
            "HOSTPULSE_ALERTS__NOTIFY__OPS",
            "alerts.notify.ops is a section; set one of its keys, such as HOSTPULSE_ALERTS__NOTIFY__OPS__APPRISE",
        ),
        (
            "HOSTPULSE_ALERTS__NOTIFY",
            "alerts.notify is a section; set one of its keys, such as HOSTPULSE_ALERTS__NOTIFY__OPS__APPRISE",
        ),
    ],
)
def test_mistyped_variables(place: Place, variable: str, words: str) -> None:
    (line,) = place.problems({variable: SECRET})
    assert line.startswith(f"{variable}: {words}")
    assert SECRET not in line


def test_mistyped_options_and_secret_files(place: Place) -> None:
    place.write("secrets/hostpulse_alerts__notify__ops__webhok", SECRET)
    assert place.problems(alerts__notify__ops="x", alerts__notify__ops__lvel="x") == [
        (
            "--set alerts.notify.ops: alerts.notify.ops is a section; set one of its keys, such as "
            "alerts.notify.ops.apprise"
        ),
        (
            "--set alerts.notify.ops.lvel: there is no setting alerts.notify.ops.lvel; did you mean "
            "alerts.notify.ops.level?"
        ),
        (
            "~~/secrets/hostpulse_alerts__notify__ops__webhok: no setting has this name; did you mean "
            "hostpulse_alerts__notify__ops__webhook?"
        ),
    ]


@pytest.mark.parametrize("name", list(Route.model_fields))
def test_what_is_in_a_secret_file_is_never_shown(place: Place, name: str) -> None:
    place.write(f"secrets/hostpulse_alerts__notify__ops__{name}", f"{SECRET}/#\n\n \x01")
    with pytest.raises(SettingsError) as caught:
        place.load()
    assert SECRET not in str(caught.value)
    assert "alerts.notify.ops" in str(caught.value)


def test_urls_on_a_command_line_are_warned_of(place: Place) -> None:
    (line,) = place.load(alerts__notify__ops__apprise=URL).warnings
    assert line.startswith("--set alerts.notify.ops.apprise: the list of processes shows it to everybody")
    assert line.endswith("see HOSTPULSE_ALERTS__NOTIFY__OPS__APPRISE_FILE")
