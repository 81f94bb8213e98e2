import pytest

from hostpulse.bus.mqtt.pace import Pace


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    return Pace(0.5, clock)


def test_nothing_is_never_due(pace):
    assert pace.due() is None


def test_a_batch_waits_the_linger_from_its_first_message(pace, clock):
    pace.arrived(1)
    clock.now += 0.4
    pace.arrived(30)
    assert pace.due() == 100.5
    pace.taken()
    pace.acknowledged(30)
    assert pace.due() is None


def test_a_window_is_learned_and_not_waited_upon(pace, clock):
    pace.arrived(20)
    pace.taken()
    pace.acknowledged(20)
    clock.now += 0.01
    pace.arrived(12)
    assert pace.due() == pytest.approx(clock.now + 0.5)
    pace.arrived(20)
    assert pace.due() == pytest.approx(clock.now + 0.005)


def test_a_batch_beyond_the_window_refutes_it(pace, clock):
    pace.arrived(20)
    pace.taken()
    pace.acknowledged(20)
    clock.now += 0.01
    pace.arrived(25)
    assert pace.due() == pytest.approx(clock.now + 0.5)


def test_messages_that_come_later_are_no_answer(pace, clock):
    pace.arrived(8)
    pace.taken()
    pace.acknowledged(8)
    clock.now += 2
    pace.arrived(8)
    assert pace.due() == pytest.approx(clock.now + 0.5)


def test_a_new_connection_has_a_new_window(pace, clock):
    pace.arrived(20)
    pace.taken()
    pace.acknowledged(20)
    pace.restart()
    clock.now += 0.01
    pace.arrived(20)
    assert pace.due() == pytest.approx(clock.now + 0.5)
