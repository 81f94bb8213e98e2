"""Whatever the embedded store holds, its dump makes the same history in InfluxDB."""

import shutil
import time
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostpulse.bus.messages import TABLES
from hostpulse.consumer.storage import LatestQuery
from hostpulse.consumer.storage.embedded import EmbeddedWriter
from hostpulse.consumer.storage.embedded.dump import EmbeddedDump
from hostpulse.consumer.storage.influxdb import InfluxReader, InfluxWriter

from ..test_same_rows import START, Make, any_message, rows


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(batch=st.lists(any_message(), min_size=1, max_size=10))
def test_any_rows(batch: list[Any], influx_server: Any, tmp_path_factory: Any, sample: Make) -> None:
    directory = tmp_path_factory.mktemp("dump")
    options = influx_server.options(f"test-{directory.name}-{time.time_ns()}")
    samples = [
        sample(subsystem, START + 1700 * index, host, index + 1, **fields)
        for index, (subsystem, host, fields) in enumerate(batch)
    ]
    try:
        with EmbeddedWriter(directory / "h", retention=None, rollup_retention=None) as writer:
            stored = writer.write(samples).rows
        with EmbeddedDump(directory / "h") as dump, InfluxWriter(options, retention=None, rollup_retention=None) as to:
            moved = 0
            for table in dump.tables():
                for page in (*dump.minute_pages(table, -1), *dump.pages(table, -1)):
                    for block in page.blocks:
                        written = to.write_rows(block)
                        assert not written.rejected
                        moved += written.rows if block.aggregate is None else 0
            assert moved == stored
            with InfluxReader(options) as reader:
                for name in TABLES:
                    expected, found = rows(dump, name), rows(reader, name)
                    assert found == expected
                    assert [list(map(type, row)) for row in found] == [list(map(type, row)) for row in expected]
                    query = LatestQuery(table=name, since=0)
                    assert reader.latest(query) == dump.latest(query)
                assert reader.hosts() == dump.hosts()
    finally:
        influx_server.forget(options)
        shutil.rmtree(directory)
