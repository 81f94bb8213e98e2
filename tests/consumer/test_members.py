"""Numbers of consumers that share the storing."""

import signal
import subprocess
import sys
from pathlib import Path

from hostpulse.consumer.members import Member, Members

HOLDER = """
import sys, time
from pathlib import Path
from hostpulse.consumer.members import Members
member = Members(Path(sys.argv[1])).join()
member.subscribed()
print(member.number, flush=True)
time.sleep(600)
"""


def subscribed(members: Members) -> Member:
    member = members.join()
    member.subscribed()
    return member


def test_each_gets_the_lowest_number_that_is_free(tmp_path: Path) -> None:
    members = Members(tmp_path / "share")
    first, second, third = members.join(), members.join(), members.join()
    assert [one.number for one in (first, second, third)] == [1, 2, 3]
    second.release()
    assert members.join().number == 2


def test_the_last_subscription_is_kept_and_found_again(tmp_path: Path) -> None:
    members = Members(tmp_path)
    first, second = subscribed(members), subscribed(members)
    assert first.may_leave()
    first.left()
    first.release()
    assert not second.may_leave()
    second.release()
    assert members.join().number == 2, "the broker keeps messages for 2"
    assert members.join().number == 1


def test_all_that_end_at_once_leave_one_subscription(tmp_path: Path) -> None:
    members = Members(tmp_path)
    assert [one.may_leave() for one in [subscribed(members) for _ in range(4)]] == [True, True, True, False]


def test_one_that_has_not_subscribed_yet_does_not_count(tmp_path: Path) -> None:
    members = Members(tmp_path)
    first = subscribed(members)
    members.join()
    assert not first.may_leave()


def test_a_departure_that_was_not_finished_is_found(tmp_path: Path) -> None:
    members = Members(tmp_path)
    first, _second = subscribed(members), subscribed(members)
    assert first.may_leave()
    first.release()  # the broker still had messages for it
    found = members.abandoned()
    assert found is not None
    assert found.number == 1
    assert members.abandoned() is None


def test_a_killed_member_is_found_and_a_living_one_is_not(tmp_path: Path) -> None:
    members = Members(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        assert members.abandoned() is None
        assert subscribed(members).number == 2
        process.send_signal(signal.SIGKILL)
    found = members.abandoned()
    assert found is not None
    assert found.number == 1
