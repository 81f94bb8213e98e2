import math
from collections.abc import Callable
from typing import Any

import pytest

from hostpulse.bus.errors import HostpulseError, UsageError
from hostpulse.consumer import storage
from hostpulse.consumer.storage import LatestQuery, Reader, RowQuery, SeriesQuery, Writer
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter

SERIES = {"table": "cpu", "field": "user_percent", "start": 0, "end": 60, "every": 60}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RowQuery(table="cpuu", start=0, end=1), "did you mean cpu?"),
        (lambda: RowQuery(table="x", start=0, end=1), "there are cpu, cpu_core"),
        (lambda: RowQuery(table="cpu", start=0, end=1, fields=("user_precent",)), "did you mean user_percent?"),
        (lambda: RowQuery(table="cpu", start=1, end=1), "empty"),
        (lambda: RowQuery(table="cpu", start=0, end=math.inf), "no bounds"),
        (lambda: SeriesQuery(**{**SERIES, "start": math.nan}), "no bounds"),
        (lambda: SeriesQuery(**{**SERIES, "every": 0}), "wide"),
        (lambda: SeriesQuery(**{**SERIES, "every": math.nan}), "wide"),
        (lambda: SeriesQuery(**{**SERIES, "every": 1e300}), "wide"),
        (lambda: SeriesQuery(**{**SERIES, "field": "core"}), "no field 'core'"),
        (lambda: SeriesQuery(**{**SERIES, "table": "system", "field": "kernel"}), "is text"),
        (lambda: SeriesQuery(**{**SERIES, "table": "event", "field": "value"}), "is of single events and has no mean"),
        (lambda: SeriesQuery(**{**SERIES, "table": "event", "field": "told"}), "is of single events and has no mean"),
        (lambda: LatestQuery(table="", since=0), "no table ''"),
        (lambda: LatestQuery(table="cpu", since=-math.inf), "no|back"),
    ],
)
def test_a_query_that_makes_no_sense(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        make()


@pytest.mark.parametrize(
    ("retention", "rollups"), [(0, None), (-1, None), (60, 0), (None, 60), (3600, 60), (math.nan, 1)]
)
def test_a_retention_that_makes_no_sense(retention: float | None, rollups: float | None, path: Any) -> None:
    with pytest.raises(UsageError):
        EmbeddedWriter(path, retention=retention, rollup_retention=rollups)


def test_the_embedded_store_is_a_store(writer: EmbeddedWriter, reader: EmbeddedReader) -> None:
    a_writer: Writer = writer
    a_reader: Reader = reader
    for protocol, made in ((Writer, a_writer), (Reader, a_reader)):
        assert all(hasattr(made, name) for name in vars(protocol) if not name.startswith("_"))


def test_every_error_is_one_that_a_person_can_mend() -> None:
    errors = [getattr(storage, name) for name in storage.__all__ if name.endswith("Error")]
    assert len(errors) == 9
    assert all(issubclass(error, HostpulseError) for error in errors)


def test_the_exported_names_are_there() -> None:
    assert sorted(storage.__all__) == list(storage.__all__)
    assert all(hasattr(storage, name) for name in storage.__all__)
