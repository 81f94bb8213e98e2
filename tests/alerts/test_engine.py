"""What tests in TOML cannot say: late samples, clocks that jump, backlog, damaged state, rules that change."""

import msgspec
import pytest

from hostpulse.bus.codec import NO_INTERVAL
from hostpulse.bus.messages import DiskMount, GpuDevice, NetworkInterface
from hostpulse.consumer.alerts import Alert, Engine, Kind, Silence, StateError, Transition, UnknownAlertError

from .support import START, rules, sample

HOT = rules('[rule.hot]\nmetric = "cpu.temperature_celsius"\nwarning = { above = 80, for = "1m" }\nrecover = "0s"')
AT_ONCE = rules('[rule.hot]\nmetric = "cpu.temperature_celsius"\nwarning = { above = 80 }\nrecover = "0s"')
FULL = rules('[rule.full]\nmetric = "disk_mount.used_percent"\nwarning = { above = 80 }\nrecover = "0s"')
SILENT = rules('[rule.silent]\nmetric = "host.heartbeat"\nabsent = "1m"\nrecover = "0s"')
SKEW = rules('[rule.skew]\nmetric = "host.clock_skew_seconds"\nfor = "1m"\nwarning = { above = 5 }')


def feed(engine: Engine, *seconds: float, celsius: float = 90.0) -> list[Transition]:
    return [
        transition
        for second in seconds
        for transition in engine.take(sample("cpu", second, temperature_celsius=celsius), START + second)
    ]


def kinds(transitions: list[Transition]) -> list[Kind]:
    return [transition.kind for transition in transitions]


def test_a_late_sample_moves_nothing() -> None:
    engine = Engine(AT_ONCE)
    assert feed(engine, 100, celsius=50) == []
    assert feed(engine, 90) == []
    assert engine.alerts() == []


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    engine = Engine(HOT)
    for number in range(20):  # an hour back at the tenth sample
        moment = number * 10 - (3600 if number >= 10 else 0)
        found = engine.take(
            sample("cpu", moment, sequence=number + 1, temperature_celsius=50 if number < 10 else 90),
            START + number * 10,
        )
        assert kinds(found) == ([Kind.FIRED] if number == 16 else [])


def test_the_session_before_is_late() -> None:
    engine = Engine(AT_ONCE)
    assert engine.take(sample("cpu", 100, session=90, sequence=1, temperature_celsius=50), START + 100) == []
    assert engine.take(sample("cpu", 80, session=0, sequence=9, temperature_celsius=90), START + 101) == []
    assert kinds(engine.take(sample("cpu", 110, session=90, sequence=2, temperature_celsius=90), START + 110)) == [
        "fired"
    ]


def test_backlog_says_nothing_of_the_clock() -> None:
    engine = Engine(SKEW)
    found = [
        transition
        for number in range(60)
        for transition in engine.take(sample("cpu", number * 10), START + 600 + number * 0.001)
    ]
    assert found == []
    for number in range(60, 80):
        found += engine.take(sample("cpu", number * 10), START + number * 10 + 0.01)
    assert found == []


def test_a_clock_that_is_ahead_is_as_wrong_as_one_behind() -> None:
    for offset in (-8, 8):
        engine = Engine(SKEW)
        found = [
            transition
            for number in range(20)
            for transition in engine.take(sample("cpu", number * 10 + offset), START + number * 10)
        ]
        assert kinds(found) == ["fired"]
        assert found[0].value == pytest.approx(8)


def test_silence_counts_only_while_somebody_listens() -> None:
    engine = Engine(SILENT)
    feed(engine, 0)
    assert engine.tick(START) == []
    engine.listening(START + 25)
    assert engine.tick(START + 25) == engine.tick(START + 50) == []
    assert engine.tick(START + 80) == []
    assert kinds(engine.tick(START + 85)) == ["fired"]
    again = Engine(SILENT)
    feed(again, 0)
    assert again.tick(START) == []
    assert again.tick(START + 600) == []  # nobody looked at the clock for ten minutes: this consumer was away


def test_what_is_told_of_a_host_is_no_sign_of_its_life() -> None:
    engine, other = Engine(SILENT), Engine(SILENT)
    for one in (engine, other):
        one.tick(START)
        feed(one, 0)
    found: list[list[Transition]] = [[], []]
    for second in range(10, 100, 10):
        event = sample("event", second, interval=NO_INTERVAL, rule="silent", level="critical")
        assert engine.take(event, START + second) == []
        found[0] += engine.tick(START + second)
        found[1] += other.tick(START + second)
    assert kinds(found[0]) == ["fired"]
    assert found[0] == found[1]
    assert engine.dump() == other.dump()
    assert Engine(SILENT).take(sample("event", 0, level="critical"), START) == []


def test_a_consumer_on_a_machine_is_no_sign_of_its_publisher() -> None:
    engine, other = Engine(SILENT), Engine(SILENT)
    for one in (engine, other):
        one.tick(START)
    engine.take(sample("consumer", 0, interval=30), START)  # before the machine's own first message, and after it
    for one in (engine, other):
        feed(one, 0)
    found: list[list[Transition]] = [[], []]
    for second in range(10, 100, 10):
        engine.take(sample("consumer", second, interval=30), START + second)
        found[0] += engine.tick(START + second)
        found[1] += other.tick(START + second)
    assert kinds(found[0]) == ["fired"]
    assert found[0] == found[1]


def test_a_consumer_that_goes_is_no_silent_host() -> None:
    engine = Engine(SILENT)
    for second in range(0, 300, 10):
        if second < 60:
            assert engine.take(sample("consumer", second, interval=30), START + second) == []
        assert engine.tick(START + second) == []


def test_a_status_of_a_known_host_changes_nothing() -> None:
    engine = Engine(SILENT)
    engine.tick(START)
    feed(engine, 0)
    engine.status("h1", online=False, received=START + 30)
    engine.status("h2", online=True, received=START + 30)
    engine.tick(START + 30)
    assert engine.instances == 1
    assert kinds(engine.tick(START + 60)) == ["fired"]


def test_a_laptop_that_is_known_from_history_only_may_sleep() -> None:
    guarded = rules(
        '[rule.silent]\nmetric = "host.heartbeat"\nabsent = "1m"\nonly_if = { field = "has_battery", equals = false }'
    )
    engine = Engine(guarded)
    engine.tick(START)
    engine.status("h1", online=False, received=START, has_battery=True)
    engine.status("h2", online=False, received=START)
    found = [transition for second in range(10, 70, 10) for transition in engine.tick(START + second)]
    assert [transition.host for transition in found] == ["h2"]


def test_what_a_transition_says() -> None:
    engine = Engine(
        rules(
            """
            [rule.full]
            metric = "disk_mount.used_percent"
            warning = { above = { field = "inodes_used_percent", add = 5, else = 3 } }
            summary = "{mount} of {host} is at {value}, {available_bytes} left, limit {limit}, {level}"
            """
        )
    )
    mount = DiskMount(used_percent=91.25, available_bytes=3 << 30, inodes_used_percent=10.0)
    (fired,) = engine.take(sample("disk", 0, mount={"/": mount}), START)
    assert fired.instance == "h1/full/mount=/"
    assert fired.id == f"h1/full/mount=/@{START:.3f}:fired"
    assert (fired.before, fired.level, fired.value, fired.limit, fired.unit) == ("ok", "warning", 91.25, 15.0, "%")
    assert fired.summary == "/ of h1 is at 91.25 %, 3.0 GiB left, limit 15 %, warning"
    assert (fired.told, fired.why, fired.moment, fired.since) == (True, "", START, START)
    assert msgspec.json.decode(msgspec.json.encode(fired), type=Transition) == fired
    (alert,) = engine.alerts()
    assert isinstance(alert, Alert)
    assert (alert.instance, alert.level, alert.told, alert.acknowledged) == (
        fired.instance,
        "warning",
        "warning",
        False,
    )


def test_a_field_that_comes_in_another_message_is_remembered() -> None:
    engine = Engine(
        rules('[rule.hot]\nmetric = "gpu_device.temperature_celsius"\n'
              'warning = { above = { field = "slowdown_celsius", add = -5 } }')
    )  # fmt: skip
    assert engine.take(sample("gpu", 0, device={"G": GpuDevice(slowdown_celsius=90.0)}), START) == []
    assert engine.take(sample("gpu", 1, device={"G": GpuDevice(temperature_celsius=84.0)}), START + 1) == []
    assert kinds(engine.take(sample("gpu", 2, device={"G": GpuDevice(temperature_celsius=86.0)}), START + 2)) == [
        "fired"
    ]


def test_acknowledging_what_does_not_fire() -> None:
    engine = Engine(FULL)
    with pytest.raises(UnknownAlertError, match="h1/full/mount=/ is not an alert that is firing"):
        engine.acknowledge("h1", "full", {"mount": "/"}, START)
    engine.take(sample("disk", 0, mount={"/": DiskMount(used_percent=90.0)}), START)
    with pytest.raises(UnknownAlertError):
        engine.acknowledge("h1", "full", {"device": "/"}, START)
    assert engine.acknowledge("h1", "full", {"mount": "/"}, START).kind is Kind.ACKNOWLEDGED
    assert engine.alerts()[0].acknowledged


def test_lifting_a_silence() -> None:
    engine = Engine(AT_ONCE)
    engine.silence(Silence(id="1", hosts=("h?",), until=START + 1000, comment="move"))
    (fired,) = feed(engine, 0)
    assert (fired.told, fired.why) == (False, "silenced: move")
    assert engine.alerts()[0].quiet == "silenced: move"
    assert [one.id for one in Engine(AT_ONCE, engine.dump()).silences] == ["1"]
    assert engine.tick(START + 1) == []
    engine.lift("1")
    assert kinds(engine.tick(START + 2)) == ["announced"]
    with pytest.raises(UnknownAlertError, match="there is no silence '1'"):
        engine.lift("1")


def test_a_silence_by_labels() -> None:
    engine = Engine(FULL)
    engine.silence(Silence(id="1", labels={"mount": ("/mnt/*", "!/mnt/b")}, until=START + 1000))
    entries = {name: DiskMount(used_percent=90.0) for name in ("/", "/mnt/a", "/mnt/b")}
    told = {one.labels["mount"]: one.told for one in engine.take(sample("disk", 0, mount=entries), START)}
    assert told == {"/": True, "/mnt/a": False, "/mnt/b": True}


def test_a_rule_that_is_gone_ends_what_was_told() -> None:
    engine = Engine((*AT_ONCE, *FULL))
    feed(engine, 0)
    other = Engine(FULL, engine.dump())
    (resolved,) = other.tick(START + 1)
    assert (resolved.kind, resolved.instance, resolved.told) == (Kind.RESOLVED, "h1/hot", True)
    assert other.tick(START + 2) == []
    narrower = rules('[rule.hot]\nmetric = "cpu.temperature_celsius"\nwarning = { above = 80 }\nhosts = "!h1"')
    assert kinds(Engine(narrower, engine.dump()).tick(START + 1)) == ["resolved"]


def test_a_level_that_is_gone_is_left() -> None:
    engine = Engine(rules('[rule.hot]\nmetric = "cpu.temperature_celsius"\ncritical = { above = 80 }'))
    feed(engine, 0)
    other = Engine(AT_ONCE, engine.dump())
    assert kinds(feed(other, 10)) == ["eased"]
    assert kinds(feed(other, 20, celsius=50)) == ["resolved"]


def test_a_host_that_is_gone_for_good() -> None:
    engine = Engine((*AT_ONCE, *SILENT))
    feed(engine, 0)
    assert kinds(engine.forget("h1", START)) == ["resolved"]
    assert (engine.alerts(), engine.instances) == ([], 0)
    assert engine.tick(START + 1) == engine.tick(START + 20) == engine.tick(START + 45) == engine.tick(START + 70) == []


def test_a_last_will_of_a_host_that_is_gone_for_good_says_nothing_until_it_comes_again() -> None:
    engine = Engine(SILENT)
    feed(engine, 0)
    assert engine.forget("h1", START) == []
    engine = Engine(SILENT, engine.dump())
    engine.status("h1", online=False, received=START + 1)
    assert (engine.has_forgotten("h1"), engine.instances) == (True, 0)
    feed(engine, 10)
    assert (engine.has_forgotten("h1"), engine.instances) == (False, 1)


def test_devices_that_no_rule_is_about_take_no_room() -> None:
    """The interfaces of containers have names that never come again."""
    engine = Engine(
        rules(
            """
            [rule.busy]
            metric = "network_interface.sent_bytes_per_second"
            where = { interface = "eth*" }
            warning = { above = 10 }
            """
        ),
        maximum_instances=2,
    )
    for second in range(300):
        entries = {f"veth{second}-{number}": NetworkInterface(sent_bytes_per_second=99) for number in range(50)}
        engine.take(sample("network", second, interface=entries), START + second)
    assert (engine.instances, engine.refused) == (0, 0)
    busy = {"eth0": NetworkInterface(sent_bytes_per_second=99)}
    assert kinds(engine.take(sample("network", 300, interface=busy), START + 300)) == ["fired"]


def test_silence_that_is_the_trouble_is_told_when_nothing_keeps_it_quiet_any_more() -> None:
    engine = Engine(
        rules('[rule.hot]\nmetric = "cpu.temperature_celsius"\nwarning = { above = 80 }\nno_data = "critical"')
    )
    engine.tick(START)
    feed(engine, 0, celsius=50)
    engine.silence(Silence(id="1", until=START + 60))
    found = [one for second in range(10, 100, 10) for one in engine.tick(START + second)]
    assert [(one.kind, one.told, one.moment - START) for one in found] == [
        (Kind.FIRED, False, 30),
        (Kind.ANNOUNCED, True, 60),
    ]


def test_a_host_whose_clock_was_ahead_is_looked_at_again_when_it_is_right() -> None:
    engine = Engine(AT_ONCE)
    ahead = 20 * 3600
    assert engine.take(sample("cpu", ahead, session=ahead, temperature_celsius=50.0), START) == []
    assert kinds(engine.take(sample("cpu", 10, session=5, temperature_celsius=90.0), START + 10)) == ["fired"]
    # What came before, of a session before, is late all the same.
    assert engine.take(sample("cpu", 9, session=0, temperature_celsius=50.0), START + 11) == []
    assert len(engine.alerts()) == 1


def test_values_that_come_in_time_are_never_stale() -> None:
    engine = Engine(
        rules(
            """
            [rule.hot]
            metric = "cpu.temperature_celsius"
            stale_after = "1s"
            warning = { above = 80, for = "20s" }
            """
        )
    )
    engine.tick(START)
    assert kinds([one for second in range(0, 30, 10) for one in feed(engine, second, celsius=90.0)]) == ["fired"]
    assert kinds(engine.tick(START + 21)) == kinds(engine.tick(START + 34)) == []
    assert kinds(engine.tick(START + 35)) == ["no_data"]


def test_one_alert_of_many() -> None:
    engine = Engine((*AT_ONCE, *FULL))
    feed(engine, 0)
    engine.take(sample("disk", 1, mount={"/": DiskMount(used_percent=90.0)}), START + 1)
    assert [engine.alert("h1", "hot", None), engine.alert("h1", "full", "/")] == engine.alerts()
    assert (
        engine.alert("h1", "full", "/srv")
        is engine.alert("h1", "cold", None)
        is engine.alert("h2", "hot", None)
        is None
    )


def test_there_is_a_limit_to_what_is_looked_at() -> None:
    engine = Engine(FULL, maximum_instances=2)
    entries = {f"/{number}": DiskMount(used_percent=90.0) for number in range(5)}
    assert len(engine.take(sample("disk", 0, mount=entries), START)) == 2
    assert (engine.instances, engine.refused) == (2, 3)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (b"{", "cannot be read: Input data was truncated; delete it to begin anew"),
        (b"[]", "cannot be read: Expected `object`, got `array`"),
        (b'{"version":9}', "is of version 9, not 1; delete it"),
        (b"\xff", "cannot be read"),
    ],
)
def test_a_state_that_cannot_be_read(state: bytes, text: str) -> None:
    with pytest.raises(StateError) as caught:
        Engine(HOT, state)
    assert text in str(caught.value)


def test_a_consumer_whose_clock_is_set_back_goes_on_looking() -> None:
    """A host that falls silent, and an alert that is to be said again, do not wait for the hour to come again."""
    engine = Engine((*AT_ONCE, *SILENT))
    feed(engine, 3600, 3610)
    assert engine.tick(START + 3610) == []
    told = [one for second in range(0, 4 * 3600 + 80, 10) for one in engine.tick(START + second)]
    assert [(one.kind, one.rule, round(one.moment - START)) for one in told] == [
        (Kind.NO_DATA, "hot", 30),
        (Kind.FIRED, "silent", 60),
        (Kind.REPEATED, "hot", 4 * 3600),
        (Kind.REPEATED, "silent", 4 * 3600 + 60),
    ]


def test_what_comes_and_goes_a_thousand_times_in_an_hour() -> None:
    engine = Engine(AT_ONCE)
    told = [one for second in range(3000) for one in feed(engine, second, celsius=90.0 if second % 2 else 50.0)]
    assert len(told) == 2999
    assert told[-1].flapping
    assert len(engine.dump()) < 4096


def test_values_that_add_up_to_more_than_a_number_can_be() -> None:
    """JSON has no infinity: the state could not be read again, by a consumer that has to."""
    mean = '[rule.{0}]\nmetric = "publisher.{1}"\nreduce = "{0}"\nwindow = "10m"\nwarning = {{ above = 1 }}'
    watched = rules(mean.format("mean", "outbox_age_seconds"))
    engine = Engine(watched)
    for second in range(0, 600, 5):
        engine.take(sample("publisher", second, outbox_age_seconds=1.7e308), START + second)
    assert Engine(watched, engine.dump()).dump() == engine.dump()


def test_a_rule_that_is_about_another_field_now_takes_nothing_over() -> None:
    """The counters of the two have nothing to do with each other: the step from one to the other is no increase."""
    drops = '[rule.drops]\nmetric = "publisher.{}"\nreduce = "increase"\nwindow = "1h"\nwarning = {{ above = 0 }}'
    engine = Engine(rules(drops.format("dropped_messages")))
    for second, dropped in ((0, 0), (10, 1)):
        found = engine.take(sample("publisher", second, dropped_messages=dropped, sent_messages=5000), START + second)
    assert kinds(found) == ["fired"]
    for crashes in range(3):
        other = Engine(rules(drops.format("sent_messages")), engine.dump())
        for _ in range(crashes):
            other = Engine(rules(drops.format("sent_messages")), other.dump())
        assert other.take(sample("publisher", 20, dropped_messages=1, sent_messages=5000), START + 20) == []
        assert kinds(other.tick(START + 20)) == ["resolved"]


def test_an_alert_whose_rule_is_gone_ends_also_where_nobody_was_told() -> None:
    engine = Engine(AT_ONCE)
    engine.silence(Silence(id="1", until=START + 1000))
    feed(engine, 0)
    (resolved,) = Engine(FULL, engine.dump()).tick(START + 1)
    assert (resolved.kind, resolved.told, resolved.why) == (Kind.RESOLVED, False, "nobody was told of it")


def test_a_rule_that_is_about_another_table_now_takes_nothing_over() -> None:
    engine = Engine(AT_ONCE)
    feed(engine, 0)
    other = rules('[rule.hot]\nmetric = "disk_mount.used_percent"\nwarning = { above = 80 }\nsummary = "{mount}"')
    restored = Engine(other, engine.dump())
    assert [(one.kind, one.instance) for one in restored.tick(START + 1)] == [(Kind.RESOLVED, "h1/hot")]
    assert restored.instances == 0


def test_the_end_of_an_absence_does_not_say_that_it_goes_on() -> None:
    text = 'metric = "host.heartbeat"\nabsent = "1m"\nrecover = "0s"\nsummary = "{host} has said nothing for {value}"'
    engine = Engine(rules(f"[rule.silent]\n{text}"))
    feed(engine, 0)
    found = [one for second in range(0, 80, 10) for one in engine.tick(START + second)] + feed(engine, 80)
    assert [one.summary for one in found] == ["h1 has said nothing for 1m", "host.heartbeat of h1 comes again"]
