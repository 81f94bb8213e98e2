"""The core of writer and reader against InfluxDB's public image, wherever Docker is, whatever else is there."""

import pytest

from ...influxdb import OwnInfluxServer
from .test_reader import filled, test_rows_come_in_batches_whatever_the_slices_are
from .test_real_answers import (
    bucket,
    stored,
    test_400_stores_nothing_and_names_the_line,
    test_422_stores_the_good_lines,
    test_the_same_point_again_is_one,
    test_wrong_names,
    write,
)
from .test_writer import (
    test_a_deleted_bucket_is_made_again,
    test_a_least_rights_token_works_without_seeing_its_bucket,
    test_a_wrong_token_and_a_wrong_organisation,
    test_hosts_are_remembered,
    test_poison_lines_are_found_and_the_rest_is_stored,
    test_session_sequence_and_interval_are_kept,
)


@pytest.fixture
def influx_server(influx_container: OwnInfluxServer) -> OwnInfluxServer:
    """In place of that of the neighbours."""
    return influx_container
