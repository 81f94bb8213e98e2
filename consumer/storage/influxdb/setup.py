"""Making InfluxDB ready: the buckets, how long they keep what they have, and the task that sums up minutes.

A token with few rights does not see its bucket, so what cannot be seen is not missing. Only a token that is told "not
found" when it writes, and may create buckets, creates one.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain.bucket import Bucket
from influxdb_client.domain.bucket_retention_rules import BucketRetentionRules
from influxdb_client.domain.post_bucket_request import PostBucketRequest
from influxdb_client.domain.task import Task
from influxdb_client.domain.task_create_request import TaskCreateRequest
from influxdb_client.domain.task_update_request import TaskUpdateRequest
from influxdb_client.rest import ApiException

from hostpulse.bus.errors import UsageError

from ..options import InfluxOptions
from .connection import is_hidden
from .downsampling import downsampling_task, task_name

__all__ = ["Prepared", "Setup", "check_retention", "find_bucket", "retention_of"]

_log = logging.getLogger(__name__)

_SHORTEST_RETENTION = 3600.0
_PAGE = 100  # as many as InfluxDB gives at once


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of each part: `created`, `updated`, `ready`, or `not permitted`.

    Attributes:
        bucket: of raw rows.
        rollup_bucket: of minutes.
        task: that sums them up.
    """

    bucket: str
    rollup_bucket: str
    task: str


def check_retention(raw: float | None, minutes: float | None) -> None:
    """Look whether InfluxDB can keep rows for so long.

    Raises:
        UsageError: it cannot, or minutes would be kept for less long than what they are made from.
    """
    for period in (raw, minutes):
        if period is not None and not period >= _SHORTEST_RETENTION:
            raise UsageError(f"InfluxDB keeps what it has for an hour at least, not for {period} seconds")
    if minutes is not None and (raw is None or raw > minutes):
        raise UsageError("rollups would be kept for less long than raw rows; make their retention the longer one")


def find_bucket(client: InfluxDBClient, options: InfluxOptions, name: str) -> Bucket | None:
    """Return a bucket; None if it is not there or may not be seen."""
    try:
        # Asked for by its name, one that is missing is an error in the server's log.
        found = client.buckets_api().find_buckets_iter(org=options.org, limit=_PAGE)
        return next((bucket for bucket in found if bucket.name == name), None)
    except ApiException as error:
        if not is_hidden(error):
            raise
        return None


def retention_of(bucket: Bucket | None) -> float | None:
    """Return the seconds that a bucket keeps what it has; None for ever, or if it cannot be seen."""
    rules = bucket.retention_rules if bucket is not None else None
    return float(rules[0].every_seconds) or None if rules else None


class Setup:
    """Creates and updates what a history needs.

    Args:
        client: whose token is used.
        options: names of organisation and bucket.
        retention: seconds that raw rows are kept; None for ever.
        rollup_retention: seconds that minutes are kept; None for ever.
    """

    def __init__(
        self,
        client: InfluxDBClient,
        options: InfluxOptions,
        *,
        retention: float | None,
        rollup_retention: float | None,
    ) -> None:
        self._client = client
        self._options = options
        self._retention = retention
        self._rollup_retention = rollup_retention

    def run(self, probe: Callable[[], None]) -> Prepared:
        """Make everything ready that the token may.

        Args:
            probe: writes nothing; raises the client's error if the token may not write.

        Raises:
            ApiException: the bucket cannot be written.
        """
        options = self._options
        created = False
        try:
            probe()
        except ApiException as error:
            if not is_hidden(error) or self._create(options.bucket, self._retention) is None:
                raise
            created = True
            probe()
        bucket = "created" if created else self._bucket(options.bucket, self._retention, may_create=False)
        minutes = self._bucket(options.rollup_bucket, self._rollup_retention, may_create=bucket != "not permitted")
        task = "not permitted" if "not permitted" in (bucket, minutes) else self._task()
        prepared = Prepared(bucket, minutes, task)
        _report(prepared, options)
        return prepared

    def _bucket(self, name: str, retention: float | None, *, may_create: bool) -> str:
        bucket = find_bucket(self._client, self._options, name)
        if bucket is None:
            created = may_create and self._create(name, retention) is not None
            return "created" if created else "not permitted"
        if (retention_of(bucket) or 0) == round(retention or 0):
            return "ready"
        bucket.retention_rules = _rules(retention)
        return _if_permitted("updated", lambda: self._client.buckets_api().update_bucket(bucket))

    def _create(self, name: str, retention: float | None) -> Bucket | None:
        try:
            org = self._org_id()
            if org is None:
                return None
            request = PostBucketRequest(org_id=org, name=name, retention_rules=_rules(retention))
            return self._client.buckets_api().create_bucket(bucket=request)
        except ApiException as error:
            if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:  # another consumer has just made it
                return find_bucket(self._client, self._options, name)
            if not is_hidden(error):
                raise
            return None

    def _task(self) -> str:
        api = self._client.tasks_api()
        options = self._options
        name = task_name(options.bucket)
        text = downsampling_task(options.bucket, options.rollup_bucket, self._retention)

        def put() -> str:
            org = self._org_id()
            if not (found := self._tasks(name, org)):
                api.create_task(task_create_request=TaskCreateRequest(org_id=org, flux=text, status="active"))
            # Consumers that start together each make one; all of them keep the same.
            for surplus in (found or self._tasks(name, org))[1:]:
                _if_permitted("deleted", partial(api.delete_task, str(surplus.id)))
            if not found:
                return "created"
            if found[0].flux == text:
                return "ready"
            api.update_task_request(found[0].id, TaskUpdateRequest(flux=text))
            return "updated"

        return _if_permitted(None, put)

    def _tasks(self, name: str, org: str | None) -> list[Task]:
        """Return the tasks of that name, the oldest first."""
        found = self._client.tasks_api().find_tasks(name=name, org_id=org)
        return sorted((task for task in found if task.name == name), key=lambda task: str(task.id))

    def _org_id(self) -> str | None:
        """Return the id of the organisation; None if the token may not see it."""
        found = self._client.organizations_api().find_organizations(org=self._options.org)
        return next((org.id for org in found if org.name == self._options.org), None)


def _report(prepared: Prepared, options: InfluxOptions) -> None:
    parts = {"bucket": prepared.bucket, "bucket of minutes": prepared.rollup_bucket, "task": prepared.task}
    # As it should be where somebody else has made them.
    if prepared.bucket in {"ready", "not permitted"} and prepared.rollup_bucket == prepared.task == "not permitted":
        _log.info("InfluxDB bucket %s: the token writes it; buckets and task are not looked after", options.bucket)
        return
    for what, became in parts.items():
        if became != "ready":
            _log.info("InfluxDB %s of %s: %s", what, options.bucket, became)


def _if_permitted(became: str | None, do: Callable[[], object]) -> str:
    try:
        done = do()
    except ApiException as error:
        if not is_hidden(error):
            raise
        return "not permitted"
    return became or str(done)


def _rules(retention: float | None) -> list[BucketRetentionRules]:
    return [BucketRetentionRules(type="expire", every_seconds=round(retention or 0))]  # 0 is for ever
