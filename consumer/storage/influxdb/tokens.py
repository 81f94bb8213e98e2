"""Tokens with just the rights that a consumer, or a reader such as Grafana, needs."""

from collections.abc import Callable
from typing import Any

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.authorization import Authorization
from influxdb_client.domain.bucket import Bucket
from influxdb_client.domain.permission import Permission
from influxdb_client.domain.permission_resource import PermissionResource
from influxdb_client.rest import ApiException

from ..errors import StorageError
from ..options import InfluxOptions
from .connection import connect, is_hidden, reported
from .setup import find_bucket

__all__ = ["make_reader_token", "make_writer_token", "may_read", "may_write"]


def may_write(options: InfluxOptions) -> bool:
    """Return whether the token of the options may write the bucket and see it.

    Raises:
        StorageError: the server cannot tell.
    """

    def write(client: InfluxDBClient) -> None:
        body: Any = b""
        client.write_api(write_options=SYNCHRONOUS).write(options.bucket, options.org, body)

    return _may(options, write) and _sees(options, options.bucket)


def may_read(options: InfluxOptions) -> bool:
    """Return whether the token of the options sees both buckets.

    Raises:
        StorageError: the server cannot tell.
    """
    return _sees(options, options.bucket, options.rollup_bucket)


def make_writer_token(options: InfluxOptions) -> str:
    """Make a token that may write samples and read them back, and nothing else; earlier ones are no longer valid.

    A consumer reads to know what has come, and so what is missing.

    Args:
        options: the buckets, and a token that may make others.

    Raises:
        StorageError: it may not, or a bucket is missing.
    """
    return _make(options, "writer", ("read", "write"), [options.bucket])


def make_reader_token(options: InfluxOptions) -> str:
    """Make a token that may read samples and minutes and nothing else; earlier ones are no longer valid.

    Args:
        options: the buckets, and a token that may make others.

    Raises:
        StorageError: it may not, or a bucket is missing.
    """
    return _make(options, "reader", ("read",), [options.bucket, options.rollup_bucket])


def _may(options: InfluxOptions, do: Callable[[InfluxDBClient], None]) -> bool:
    with reported(options, "be tried"), connect(options) as client:
        try:
            do(client)
        except ApiException as error:
            if not is_hidden(error):
                raise
            return False
        return True


def _sees(options: InfluxOptions, *names: str) -> bool:
    with reported(options, "read"), connect(options) as client:
        return all(find_bucket(client, options, name) for name in names)


def _make(options: InfluxOptions, role: str, actions: tuple[str, ...], names: list[str]) -> str:
    description = f"hostpulse {role} of {options.bucket}"
    with reported(options, "make tokens"), connect(options) as client:
        buckets = [_bucket(client, options, name) for name in names]
        api = client.authorizations_api()
        for old in api.find_authorizations(org=options.org):
            if old.description == description:
                api.delete_authorization(old)
        made = api.create_authorization(
            authorization=Authorization(
                org_id=buckets[0].org_id,
                description=description,
                permissions=[
                    Permission(
                        action=action, resource=PermissionResource(type="buckets", id=bucket.id, org_id=bucket.org_id)
                    )
                    for bucket in buckets
                    for action in actions
                ],
            )
        )
        return str(made.token)


def _bucket(client: InfluxDBClient, options: InfluxOptions, name: str) -> Bucket:
    bucket = find_bucket(client, options, name)
    if bucket is None:
        raise StorageError(
            f"InfluxDB at {options.url} has no bucket {name!r} that the token may see; give influxdb.token all rights "
            f"in organisation {options.org!r}"
        )
    return bucket
