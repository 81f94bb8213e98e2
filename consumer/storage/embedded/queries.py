"""The statements of the reader. Names come from TABLES, values are parameters.

:start, :end    range of moments in milliseconds
:devices        JSON list of the numbers of the devices that are meant; null for all
:table          number of the table
:raw_start      minute before which raw rows have been deleted
:after          id that a page begins after
:every          width of a bucket in milliseconds
:limit          how many rows at most
:ids            JSON list of ids
:device         number of one device
"""

from collections.abc import Collection

from hostpulse.bus.fields import Table

from .schema import DEVICE_BITS, DEVICE_MASK, MINUTE, minute_table, quoted

__all__ = [
    "DEVICES",
    "HOSTS",
    "count_minutes",
    "count_rows",
    "last_number",
    "last_rows",
    "numbers",
    "page",
    "points",
    "rows_by_id",
    "values",
]

# ruff: noqa: S608 - see above

HOSTS = """
    SELECT host, online, info
    FROM (SELECT host FROM _device UNION SELECT name FROM _host) LEFT JOIN _host ON name = host
    ORDER BY host
"""

DEVICES = "SELECT id, host, last_seen FROM _device WHERE id BETWEEN :first AND :last ORDER BY host"
"""The devices of a table by host; the bounds are ids of devices."""

_CHOSEN = f"(:devices IS NULL OR id & {DEVICE_MASK} IN (SELECT value FROM json_each(:devices)))"


def _between(start: str, end: str) -> str:
    """Return the condition for rows of a range. One bound at each end: given two, SQLite seeks to either of them."""
    return f"id >= {start} << {DEVICE_BITS} AND id < {end} << {DEVICE_BITS} AND {_CHOSEN}"


_IN_RANGE = _between(":start", ":end")
_WITH_RAW_ROWS = _between("max(:start, :raw_start)", ":end")
_WITHOUT_RAW_ROWS = _between(":start", "min(:end, :raw_start)")

# The minutes whose rows must be taken raw, because they are not summed up yet. Where raw rows have been deleted, what
# was summed up before holds more than what a late sample brought.
_TOUCHED = 'SELECT minute FROM _touched WHERE "table" = :table AND minute >= :raw_start AND minute < :end'


def page(table: Table, fields: Collection[str], present: Collection[str]) -> str:
    """Return the statement that reads rows in the order of time, from `:after` on: id, fields."""
    columns = ", ".join(("id", *(quoted(name) if name in present else "NULL" for name in fields)))
    return f"""
        SELECT {columns} FROM {quoted(table.name)}
        WHERE id >= max(:start << {DEVICE_BITS}, :after + 1) AND id < :end << {DEVICE_BITS} AND {_CHOSEN}
        ORDER BY id LIMIT :limit
    """


def numbers(table: Table) -> str:
    """Return the statement that reads which messages there are, as `page` reads rows: id, session, sequence."""
    return f"""
        SELECT id, session, sequence FROM {quoted(table.name)}
        WHERE id >= max(:start << {DEVICE_BITS}, :after + 1) AND id < :end << {DEVICE_BITS} AND {_CHOSEN}
        AND sequence IS NOT NULL ORDER BY id LIMIT :limit
    """


def last_number(table: Table) -> str:
    """Return the statement that reads the last message of a device in a range: id, session, sequence."""
    return f"""
        SELECT id, session, sequence FROM {quoted(table.name)}
        WHERE id >= :start << {DEVICE_BITS} AND id < :end << {DEVICE_BITS} AND id & {DEVICE_MASK} = :device
        AND sequence IS NOT NULL ORDER BY id DESC LIMIT 1
    """


def count_rows(table: Table) -> str:
    """Return the statement that counts rows one by one."""
    return f"SELECT count(*) FROM {quoted(table.name)} WHERE {_IN_RANGE}"


def count_minutes(table: Table) -> str:
    """Return the statement that counts the raw rows of whole minutes, reading a thirtieth of what it counts."""
    return f"""
        SELECT
            (SELECT coalesce(sum(rows), 0) FROM {quoted(minute_table(table))}
             WHERE {_WITH_RAW_ROWS} AND id >> {DEVICE_BITS} NOT IN ({_TOUCHED}))
            + (SELECT count(*) FROM {_touched_rows(table)} WHERE {_CHOSEN})
    """


def values(table: Table, field: str) -> str:
    """Return the statement that reads a field as it was written: device, moment, and three times its value."""
    column = quoted(field)
    return f"""
        SELECT id & {DEVICE_MASK}, id >> {DEVICE_BITS}, {column}, {column}, {column} FROM {quoted(table.name)}
        WHERE {_IN_RANGE} AND {column} IS NOT NULL ORDER BY id LIMIT :limit
    """


def points(table: Table, field: str, *, from_minutes: bool) -> str:
    """Return the statement that reads a field in buckets: device, start of the bucket, mean, minimum, maximum.

    Args:
        table: the table.
        field: name of a number.
        from_minutes: whether minutes fit into the buckets; else they stand in only where raw rows have been deleted.
    """
    column, mean, minimum, maximum, count = (
        quoted(field + suffix) for suffix in ("", "_mean", "_minimum", "_maximum", "_count")
    )
    if from_minutes:
        minutes = f"{_IN_RANGE} AND id >> {DEVICE_BITS} NOT IN ({_TOUCHED})"
        source, raw = _touched_rows(table), _CHOSEN
    else:
        minutes = _WITHOUT_RAW_ROWS
        source, raw = quoted(table.name), _WITH_RAW_ROWS
    return f"""
        SELECT device, bucket * :every, sum(mean * count) / sum(count), min(minimum), max(maximum)
        FROM (
            SELECT id & {DEVICE_MASK} AS device, (id >> {DEVICE_BITS}) / :every AS bucket,
                   {mean} AS mean, {count} AS count, {minimum} AS minimum, {maximum} AS maximum
            FROM {quoted(minute_table(table))} WHERE {minutes} AND {count} > 0
            UNION ALL
            SELECT id & {DEVICE_MASK}, (id >> {DEVICE_BITS}) / :every, {column}, 1, {column}, {column}
            FROM {source} WHERE {raw} AND {column} IS NOT NULL
        )
        GROUP BY device, bucket ORDER BY device, bucket LIMIT :limit
    """


def last_rows(table: Table, fields: Collection[str]) -> str:
    """Return the statement that finds the last row of each device, and of each of its fields: their ids."""
    columns = "".join(f", max(CASE WHEN {quoted(name)} IS NOT NULL THEN id END)" for name in fields)
    return f"SELECT max(id){columns} FROM {quoted(table.name)} WHERE {_IN_RANGE} GROUP BY id & {DEVICE_MASK}"


def rows_by_id(table: Table, fields: Collection[str]) -> str:
    """Return the statement that reads the rows with the ids in `:ids`, newest first: id, fields."""
    columns = ", ".join(("id", *(quoted(name) for name in fields)))
    return (
        f"SELECT {columns} FROM {quoted(table.name)} WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY id DESC"
    )


def _touched_rows(table: Table) -> str:
    """Return a source of the raw rows of touched minutes in the range."""
    return f"""
        (SELECT raw.* FROM ({_TOUCHED} AND minute > :start - {MINUTE}) AS touched
         CROSS JOIN {quoted(table.name)} AS raw
         ON raw.id >= max(touched.minute, :start) << {DEVICE_BITS}
         AND raw.id < min(touched.minute + {MINUTE}, :end) << {DEVICE_BITS})
    """
