"""Moving a source into InfluxDB, page by page.

For each table the minutes of the source go first, then its rows; then InfluxDB 2 sums up the minutes of the rows, as
its task does, which only looks at the last hours. Where the token may not have it do that, and where there is no such
task, the minutes of the source stand.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from hostpulse.bus.backoff import Backoff
from hostpulse.bus.times import format_duration

from ..dead_letter import DeadLetter, DeadLetterFile
from ..storage import StorageError, StorageUnavailableError, TooOldError, UnstorableError
from ..storage.influxdb.writer import InfluxWriter
from ..storage.stored import StoredRows
from .position import Position, Positions
from .report import Report
from .sources import Part, Source

__all__ = ["Move"]

_MINUTE = 60_000
_HOUR = 60 * _MINUTE
_WEEK = 7 * 24 * _HOUR
_ROWS_AT_ONCE = 200_000  # that InfluxDB sums up in one query
_MARGIN = _HOUR  # the server's clock decides what is too old; near its bound it is left to say so
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 60.0

_Result = TypeVar("_Result")


class Move:
    """Moves one source.

    Args:
        source: opened.
        writer: opened.
        positions: how far it has come; kept after each page.
        dead_letters: where rows go that InfluxDB has no way to hold.
        say: tells a person something.
        advance: called with the number of rows of the source that are done since the last call.
        sleep: waits for some seconds.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        source: Source,
        writer: InfluxWriter,
        positions: Positions,
        dead_letters: DeadLetterFile,
        *,
        say: Callable[[str], None],
        advance: Callable[[int], None],
        sleep: Callable[[float], None] = time.sleep,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._writer = writer
        self._positions = positions
        self._dead_letters = dead_letters
        self._say = say
        self._advance = advance
        self._sleep = sleep
        self._wall = wall
        self._report = Report()
        self._kept: dict[bool, float | None] = {}
        self._said: set[str] = set()

    def left(self) -> int:
        """Return about how many rows are to be moved, for a progress bar."""
        return sum(part.left(self._positions.of(part.name, part.start).at) for part in self._source.parts())

    def run(self) -> Report:
        """Move everything behind the positions; what is unavailable is tried again for as long as it takes.

        Raises:
            StorageError: the token, the organisation or the bucket is wrong.
            HostpulseError: the source is broken, or progress cannot be kept.
            OSError: the source cannot be read, or the dead-letter file not be written.
        """
        self._positions.save()  # so that it is known to be possible
        kept = self._persist(self._writer.kept)
        self._kept = {False: kept.raw, True: kept.minutes}
        if names := self._source.left_out():
            self._report.unmoved.append(
                f"not moved from {self._source.path}: {', '.join(names)}, of a newer hostpulse; install that"
            )
        movable_minutes = True
        for part in self._source.parts():
            position = self._positions.of(part.name, part.start)
            if not part.minutes:
                self._move(part, position)
                self._sum_up(part, position)
            elif movable_minutes:
                movable_minutes = self._moved_minutes(part, position)
            self._count(part, position)
        self._note_hosts()
        if not self._report.unmoved:
            self._positions.forget()
        return self._report

    def _moved_minutes(self, part: Part, position: Position) -> bool:
        """Move minutes; return whether the token may."""
        try:
            self._move(part, position)
        except StorageUnavailableError:
            raise  # of the source
        except StorageError as error:
            self._report.unmoved.append(f"minutes are not moved: {error}; then run the same command again")
            return False
        return True

    def _move(self, part: Part, position: Position) -> None:
        for page in part.pages(position.at):
            for block in page.blocks:
                self._store(part, position, block)
            position.at = page.position
            self._positions.save()
            self._advance(page.rows)

    def _store(self, part: Part, position: Position, block: StoredRows) -> None:
        moments = [row[0] for row in block.rows]
        old, refused = self._too_old(part, moments), 0
        if old:
            left = [row for row in block.rows if row[0] not in old]
            block = replace(block, rows=left)
        written = self._persist(lambda: self._writer.write_rows(block))
        letters = []
        newest_too_old = [*old]
        too_old = len(moments) - len(block.rows)
        for rejected in written.rejected:
            if isinstance(rejected.error, TooOldError):
                too_old += 1
                newest_too_old.append(block.rows[rejected.index][0])
            else:
                refused += 1
                letters.append(DeadLetter(part.name.encode(), rejected.line, rejected.error))
        if letters:
            self._dead_letters.keep(letters)
        if newest_too_old:
            self._say_too_old(minutes=part.minutes)
            position.newest_too_old = max(*newest_too_old, position.newest_too_old or 0)
        if block.aggregate not in {None, "count"}:
            return  # a minute counts once
        position.rows += written.rows
        position.refused += refused
        position.too_old += too_old
        position.first = min([*moments, *([] if position.first is None else [position.first])], default=None)
        position.last = max([*moments, *([] if position.last is None else [position.last])], default=None)

    def _too_old(self, part: Part, moments: list[int]) -> set[int]:
        """Return the moments that the bucket no longer keeps for certain, so that their rows need not be sent."""
        kept = self._kept[part.minutes]
        if kept is None:
            return set()
        bound = round((self._wall() - kept) * 1000) - _MARGIN
        return {moment for moment in moments if moment < bound} if min(moments, default=bound) < bound else set()

    def _say_too_old(self, *, minutes: bool) -> None:
        seconds = self._kept[minutes]
        kept = "" if seconds is None else f", {format_duration(seconds)}"
        what, setting = ("minutes", "store.rollup_retention") if minutes else ("rows", "store.retention")
        text = f"{what} older than what InfluxDB keeps{kept}, are left out; to move them, too, set {setting} to more"
        if text not in self._said:
            self._said.add(text)
            self._say(text)

    def _sum_up(self, part: Part, position: Position) -> None:
        """Have InfluxDB sum up the minutes of which all rows were moved."""
        first, last = position.first, position.last
        has_means = any(field.has_mean for field in part.table.fields)
        if first is None or last is None or not has_means or not self._writer.sums_up:
            return
        start, end = max(first // _MINUTE * _MINUTE, part.whole_from), (last // _MINUTE + 1) * _MINUTE
        if position.newest_too_old is not None:
            start = max(start, (position.newest_too_old // _MINUTE + 1) * _MINUTE)
        if position.summed_up_to is not None:  # its last minute may have become more
            start = max(start, position.summed_up_to - _MINUTE)
        hours = (last - first) * _ROWS_AT_ONCE // max(position.rows, 1) // _HOUR
        width = min(max(hours * _HOUR, _HOUR), _WEEK)
        while start < end:
            stop = min(start + width, end)
            try:
                self._persist(partial(self._writer.sum_up, part.table, start, stop))
            except StorageError as error:
                if not self._source.has_minutes:
                    self._say_unsummed(error)
                return
            position.summed_up_to = start = stop
            self._positions.save()

    def _say_unsummed(self, error: StorageError) -> None:
        line = f"minutes of older rows are not summed up: {error}; then run the same command again"
        if line not in self._report.unmoved:
            self._report.unmoved.append(line)

    def _note_hosts(self) -> None:
        hosts, moment = self._source.hosts()
        now = round(self._wall() * 1000)
        for host in hosts:
            if host.online is None and host.info is None:
                continue
            try:
                note = partial(self._writer.note_host, host.name, online=host.online, info=host.info)
                self._persist(partial(note, moment=min(moment or now, now)))
            except TooOldError:
                self._report.too_old += 1
                self._say_too_old(minutes=False)
            except UnstorableError as error:
                self._report.refused += 1
                payload = (host.info or "").encode()
                self._dead_letters.keep([DeadLetter(host.name.encode("utf-8", "replace"), payload, error)])

    def _count(self, part: Part, position: Position) -> None:
        counter = self._report.minutes if part.minutes else self._report.rows
        counter[part.table.name] += position.rows
        self._report.refused += position.refused
        self._report.too_old += position.too_old

    def _persist(self, do: Callable[[], _Result]) -> _Result:
        """Do something, again and again while InfluxDB is unavailable."""
        backoff = Backoff(first=_FIRST_DELAY, most=_LONGEST_DELAY)
        said = ""
        while True:
            try:
                result = do()
            except StorageUnavailableError as error:
                if str(error) != said:
                    said = str(error)
                    self._say(f"{said} (trying again)")
                self._sleep(max(error.retry_after or 0.0, backoff.delay()))
            else:
                if said:
                    self._say("InfluxDB answers again")
                return result
