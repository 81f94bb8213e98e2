"""The core of session and receiver against mosquitto's public image, which is what most people's brokers come from."""

import pytest

from ..brokers import CONTAINER
from .test_receiver import (
    test_a_broker_that_is_killed_in_mid_stream_loses_nothing,
    test_a_queue_comes_once_in_order_and_leaves_nothing_behind,
    test_connections_that_break_in_mid_stream_lose_nothing_and_mix_no_identifiers,
    test_large_messages,
    test_nothing_is_acknowledged_before_it_is_taken,
    test_retained_messages_are_marked,
    test_the_session_keeps_what_comes_while_the_receiver_is_away,
    test_what_cannot_be_stored_comes_again_and_is_not_acknowledged,
)
from .test_session import (
    test_close_sends_everything_first,
    test_greeting_farewell_and_last_will,
    test_messages_arrive_in_order_and_each_is_acknowledged_once,
    test_what_is_out_when_the_connection_breaks_is_sent_again_under_its_number,
)


@pytest.fixture
def broker_kind() -> str:
    """In place of that of the neighbours: these tests run with containers."""
    return CONTAINER
