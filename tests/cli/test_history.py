"""`hostpulse history`: a metric as a table, a plot and CSV."""

import csv
import io
import re

import pytest

from hostpulse.bus.messages import TABLES, DiskMount
from hostpulse.cli.chart import chart
from hostpulse.cli.terminal import clean, size, value_text

from .support import Hostpulse, sample

BEGIN = 1_780_000_200_000  # 2026-05-28T20:30:00Z
HOUR = ("--since", "2026-05-28T20:30:00Z", "--until", "2026-05-28T21:30:00Z")
METRIC = "cpu.utilization_percent"


@pytest.fixture
def filled(hostpulse: Hostpulse) -> Hostpulse:
    """An hour: the utilization is the minute, and it was not known in the second quarter."""
    hostpulse.write(
        [
            sample("cpu", BEGIN + second * 1000, utilization_percent=float(second // 60))
            for second in range(0, 3600, 10)
            if not 900 <= second < 1800
        ]
        + [sample("disk", BEGIN, mount={"/": DiskMount(used_bytes=3 << 30, file_system="ext4")})]
        + [sample("system", BEGIN, kernel="6.1\x1b[2J")]
    )
    return hostpulse


def show(hostpulse: Hostpulse, *arguments: str, columns: int = 80) -> str:
    done = hostpulse.run("history", *arguments, environment={"COLUMNS": str(columns)})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_csv(filled: Hostpulse) -> None:
    rows = list(csv.reader(io.StringIO(show(filled, METRIC, *HOUR, "--every", "5m"))))
    assert rows[0] == ["timestamp", "host", "mean", "minimum", "maximum"]
    assert rows[1] == ["2026-05-28T20:30:00.000Z", "web-1", "2.0", "0.0", "4.0"]
    assert [float(row[2]) for row in rows[1:]] == [2, 7, 12, 32, 37, 42, 47, 52, 57]
    rows = list(csv.reader(io.StringIO(show(filled, "disk_mount.used_bytes", *HOUR, "--every", "raw"))))
    assert rows[1] == ["2026-05-28T20:30:00.000Z", "web-1", "/", *[str(3 << 30)] * 3]


def test_without_every_it_fits_a_screen(filled: Hostpulse) -> None:
    # An hour in at most 24 rows: every 5 m, without the quarter in which nothing was known, below a header.
    assert show(filled, METRIC, *HOUR).count("\n") == 12 - 3 + 1


def test_table(filled: Hostpulse) -> None:
    shown = show(filled, METRIC, *HOUR, "--every", "15m", "--format", "table")
    lines = shown.splitlines()
    assert lines[0].rstrip() == "web-1  cpu.utilization_percent, every 15m"
    assert re.sub(r"[^\w:. %-]+", "", lines[2]).split() == ["time", "mean", "minimum", "maximum"]
    assert [re.findall(r"[\d:-]+ [\d:]+|[\d.]+ %", line) for line in lines[4:7]] == [
        ["2026-05-28 20:30:00", "7 %", "0 %", "14 %"],
        ["2026-05-28 21:00:00", "37 %", "30 %", "44 %"],
        ["2026-05-28 21:15:00", "52 %", "45 %", "59 %"],
    ]
    assert len({len(line) for line in lines[1:]}) == 1


def test_a_table_of_bytes_and_one_of_text(filled: Hostpulse) -> None:
    shown = show(filled, "disk_mount.used_bytes", *HOUR, "--format", "table")
    assert "web-1 /  disk_mount.used_bytes" in shown
    assert "3.0 GiB" in shown
    shown = show(filled, "system.kernel", *HOUR, "--format", "table")
    assert "6.1�[2J" in shown
    assert "value" in shown
    assert "mean" not in shown


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("every", [None, "raw", "5m"])
def test_plot(filled: Hostpulse, columns: int, every: str | None) -> None:
    arguments = () if every is None else ("--every", every)
    shown = show(filled, METRIC, *HOUR, "--format", "plot", *arguments, columns=columns)
    name, *rows, axis = shown.splitlines()
    assert name == "web-1"
    assert len(rows) == 8
    assert all(len(line) <= columns for line in shown.splitlines())
    assert rows[0].split()[1] == "%"
    assert 54 < float(rows[0].split()[0]) <= 59
    assert re.match(r" {9}0 % │[▁▂]", rows[-1])
    lowest = rows[-1].partition("│")[2]
    assert " " in lowest.strip()  # what is not known is empty
    assert len(lowest.strip()) > len(rows[0].partition("│")[2].strip())
    assert re.fullmatch(r" {13}└(2026-05-28 )?20:30(:00)? {2,}(2026-05-28 )?21:30(:00)?", axis), axis


def test_a_plot_of_days_has_dates(filled: Hostpulse) -> None:
    shown = show(filled, METRIC, "--since", "2026-05-25", "--until", "2026-05-30", "--format", "plot", columns=50)
    assert re.search(r"└05-25 +05-30$", shown.rstrip())


def test_events_are_shown_one_by_one(hostpulse: Hostpulse) -> None:
    hostpulse.write([sample("event", BEGIN + second * 1000, value=90.0 + second, level="warning") for second in (0, 1)])
    rows = list(csv.reader(io.StringIO(show(hostpulse, "event.value", *HOUR))))
    assert [row[2] for row in rows[1:]] == ["90.0", "91.0"]
    rows = list(csv.reader(io.StringIO(show(hostpulse, "event.level", *HOUR))))
    assert [row[2] for row in rows[1:]] == ["warning", "warning"]


def test_a_plot_where_the_encoding_has_no_blocks(filled: Hostpulse) -> None:
    done = filled.run("history", METRIC, *HOUR, "--format", "plot", environment={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "?" in done.stdout


def test_nothing_found(filled: Hostpulse) -> None:
    done = filled.run("history", METRIC, "--since", "1s")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"hostpulse: no {METRIC} since 1s\n")
    done = filled.run("history", METRIC, *HOUR, "--host", "db")
    assert done.stderr == "hostpulse: no host 'db' in the history; there are web-1\n"


def test_list_names_every_metric(hostpulse: Hostpulse) -> None:
    lines = hostpulse.run("history", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        f"{table.name}.{field.name}" for table in TABLES.values() for field in table.fields
    ]
    assert [line for line in lines if re.fullmatch(r"memory\.used_bytes +B +Memory that is not available.*", line)]


# Units


def test_a_chart_has_a_column_for_each_value() -> None:
    assert chart([0, 50, None, 100], height=2, lowest=0, highest=100) == ["   █", "▁█ █"]
    assert chart([5, 5], height=1, lowest=5, highest=5) == ["▁▁"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "B", "0 B"),
        (1023, "B", "1023 B"),
        (1536, "B/s", "1.5 KiB/s"),
        (200 * 1024**2, "B", "200 MiB"),
        (5 * 1024**6, "B", "5120 PiB"),
        (-2048, "B", "-2.0 KiB"),
        (12.345678, "%", "12.3457 %"),
        (3, "", "3"),
        (None, "%", ""),
        ("up\x07", "", "up�"),
    ],
)
def test_values_for_people(value: float | str | None, unit: str, text: str) -> None:
    assert value_text(value, unit) == text


def test_sizes_and_clean_text() -> None:
    assert size(99.94 * 1024) == "99.9 KiB"
    assert clean("a\tb\nc\u2028\x85\u200ed é") == "a�b�c���d é"
