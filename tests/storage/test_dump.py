"""A dump of a history that lies where nothing can be written."""

from collections.abc import Callable
from pathlib import Path

from hostpulse.bus.codec import Sample
from hostpulse.consumer.storage.embedded import open_writer

START = 1_770_000_000_000


def test_a_history_where_nothing_can_be_written(
    open_directory: Path, sample: Callable[..., Sample], run_unprivileged: Callable[..., str]
) -> None:
    path = open_directory / "history.db"
    with open_writer(path, retention=None, rollup_retention=None) as writer:
        writer.write([sample("cpu", START + number, user_percent=1.0) for number in range(3)])
    assert [file.name for file in open_directory.iterdir() if file.name.startswith("history.db-wal")] == []
    path.chmod(0o444)
    open_directory.chmod(0o555)
    program = """
from hostpulse.consumer.storage.embedded.dump import EmbeddedDump
with EmbeddedDump(Path(sys.argv[1])) as dump:
    for table in dump.tables():
        for page in dump.pages(table, -1):
            print(table.name, page.rows)
"""
    assert run_unprivileged(program, path) == "cpu 3\n"
