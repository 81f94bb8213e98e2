import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hostpulse.bus.codec import Envelope, Sample
from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader, InfluxWriter

from ..influxdb import InfluxServer
from ..influxdb3 import Influx3Server

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.sqlite"


@pytest.fixture
def writer(path: Path) -> Iterator[EmbeddedWriter]:
    with EmbeddedWriter(path, retention=None, rollup_retention=None) as opened:
        yield opened


@pytest.fixture
def reader(writer: EmbeddedWriter, path: Path) -> Iterator[EmbeddedReader]:  # noqa: ARG001 - it makes the database
    with EmbeddedReader(path) as opened:
        yield opened


def make_sample(subsystem: str, milliseconds: int, host: str = "alpha", sequence: int = 1, **fields: Any) -> Sample:
    envelope = Envelope(
        v=1,
        host=host,
        subsystem=subsystem,
        timestamp=datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000),
        sequence=sequence,
        session=datetime(2026, 1, 1, tzinfo=UTC),
        interval=2.0,
    )
    known = SUBSYSTEMS[subsystem](**fields)
    # As a message would bring it, which says no number that is none, and nothing that JSON cannot say.
    text = msgspec.json.encode(known, enc_hook=lambda _: None)
    return Sample(envelope, known, b"" if text == b"{}" or b"null" in text else text)


@pytest.fixture(scope="session")
def sample() -> Callable[..., Sample]:
    return make_sample


@pytest.fixture(scope="session")
def start_python() -> Callable[..., subprocess.Popen[str]]:
    """Start a program of Python text with arguments."""

    def start(program: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return start


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that other users can enter; pytest's own is closed to them."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
        directory.chmod(0o755)


DROP_RIGHTS = f"""
import os
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""


@pytest.fixture
def run_unprivileged(start_python: Callable[..., subprocess.Popen[str]]) -> Callable[..., str]:
    """Run statements after the imports, as a user who is not root; return what they print."""
    imports = """
import sys, sqlite3
from pathlib import Path
from hostpulse.consumer.storage import *
from hostpulse.consumer.storage.embedded import open_reader, open_writer
"""

    def run(statements: str, *arguments: object) -> str:
        child = start_python(imports + DROP_RIGHTS + statements, *arguments, cwd="/")
        output, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
        return output

    return run


@pytest.fixture
def influx_options(influx_server: InfluxServer) -> Iterator[InfluxOptions]:
    options = influx_server.options(f"test-{uuid.uuid4()}")
    yield options
    influx_server.forget(options)


@pytest.fixture
def influx_writer(influx_options: InfluxOptions) -> Iterator[InfluxWriter]:
    with InfluxWriter(influx_options, retention=None, rollup_retention=None) as opened:
        yield opened


@pytest.fixture
def influx_reader(influx_writer: InfluxWriter, influx_options: InfluxOptions) -> Iterator[InfluxReader]:
    assert influx_writer.prepared is not None
    with InfluxReader(influx_options) as opened:
        yield opened


@pytest.fixture
def influx3_options(influx3_server: Influx3Server) -> Iterator[InfluxOptions]:
    with influx3_server.database() as options:
        yield options


@pytest.fixture
def influx3_writer(influx3_options: InfluxOptions) -> Iterator[InfluxWriter]:
    with InfluxWriter(influx3_options, retention=None, rollup_retention=None) as opened:
        yield opened


@pytest.fixture
def influx3_reader(influx3_writer: InfluxWriter, influx3_options: InfluxOptions) -> Iterator[InfluxReader]:
    assert influx3_writer.server.is_version_3
    with InfluxReader(influx3_options) as opened:
        yield opened
