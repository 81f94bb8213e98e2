"""Answers to queries: annotated CSV, as a stream.

Two things look like success: an error after the first bytes is a table `error,reference` in an answer that began with
200, and an answer that was cut off between two lines is CSV as good as any. A whole one ends with an empty line.
"""

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from urllib3 import HTTPResponse

from ..errors import StorageUnavailableError

__all__ = ["Columns", "read_answer"]

_BUFFER = 1 << 16
_SHOWN = 300


class Columns(NamedTuple):
    """The columns of a table of an answer.

    Attributes:
        result: name of the result that it belongs to.
        places: place of each column in a row.
    """

    result: str
    places: dict[str, int]


def read_answer(response: HTTPResponse) -> Iterator[tuple[Columns, list[str]]]:
    """Yield each row of an answer with its columns, which are the same object until they change.

    Raises:
        StorageUnavailableError: the query failed in mid-stream, or the answer is not whole.
        HTTPError: the connection broke.
    """
    response.auto_close = False  # the text wrapper asks it once more at its end
    text = io.TextIOWrapper(io.BufferedReader(response, _BUFFER), encoding="utf-8", newline="")
    try:
        yield from _rows(csv.reader(text))
    except (csv.Error, UnicodeDecodeError, IndexError, ValueError) as error:
        raise StorageUnavailableError(f"InfluxDB gave an answer that cannot be read ({error}); ask again") from error
    finally:
        # What was not read would come with the next answer.
        response.close()


def _rows(lines: Iterator[list[str]]) -> Iterator[tuple[Columns, list[str]]]:
    places: dict[str, int] | None = None
    columns: Columns | None = None
    whole = failed = False
    for line in lines:
        whole = not line
        if whole or line[0].startswith("#"):
            places = columns = None
        elif places is None:
            places = {name: place for place, name in enumerate(line)}
            failed = "error" in places and "reference" in places
        elif failed:
            raise StorageUnavailableError(
                f"InfluxDB broke off its answer ({' '.join(line[places['error']].split())[:_SHOWN]}); ask again"
            )
        else:
            if columns is None or columns.result != line[1]:
                columns = Columns(line[1], places)
            yield columns, line
    if not whole:
        raise StorageUnavailableError("InfluxDB's answer ends before its end; ask again")
