"""For any series: restarts and doubled samples change nothing, and what is told makes sense."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hostpulse.bus.messages import TABLES
from hostpulse.consumer.alerts import Kind, Transition
from hostpulse.consumer.alerts.cases import Case, play
from hostpulse.consumer.alerts.cases.case import SeriesOf, SilenceFrom

from .support import EVERY_KIND

LENGTH = 40


def series(host: str, metric: str, key: str | None, values: st.SearchStrategy[object]) -> st.SearchStrategy[SeriesOf]:
    table, _, field = metric.partition(".")
    steps = st.lists(st.none() | values, min_size=LENGTH, max_size=LENGTH).map(tuple)
    return steps.map(lambda one: SeriesOf(host, TABLES[table], field, key, {}, one))  # type: ignore[arg-type]


CASES = st.builds(
    lambda one, silences, restarts: Case(
        name="any",
        step=10,
        interval=10,
        until=LENGTH * 10 + 120,
        series=one,
        expect=(),
        silences=tuple(silences),
        restarts=tuple(restarts),
    ),
    st.tuples(
        series("h1", "cpu.temperature_celsius", None, st.floats(60, 100)),
        series("h1", "disk_mount.used_percent", "/", st.floats(70, 100)),
        series("h1", "disk_mount.inodes_used_percent", "/", st.floats(50, 70)),
        series("h1", "disk_mount.state", "/", st.sampled_from(["ok", "read_only", "stalled"])),
        series("h1", "disk_mount.available_bytes", "/a", st.integers(0, 10**4)),
        series("h1", "publisher.dropped_messages", None, st.integers(0, 10)),
        series("h2", "cpu.temperature_celsius", None, st.sampled_from([60.0, 82.0, 95.0])),
    ),
    st.lists(st.builds(SilenceFrom, st.floats(0, 400), st.floats(0, 200), st.just({"rule": "hot*"})), max_size=2),
    st.just(()),
)


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_restarts_and_doubled_samples_change_nothing(case: Case) -> None:
    plain = play(case, EVERY_KIND)
    assert play(case, EVERY_KIND, restart_always=True) == plain
    assert play(case, EVERY_KIND, copies=2) == plain
    assert play(replace(case, restarts=(55.0, 130.0)), EVERY_KIND) == plain


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_what_is_told_makes_sense(case: Case) -> None:
    """Each alert's transitions follow from one another, and an end is told if and only if its begin was."""
    alerts: dict[str, list[Transition]] = {}
    for transition in play(case, EVERY_KIND)[0]:
        alerts.setdefault(transition.instance, []).append(transition)
    for transitions in alerts.values():
        level, told = "ok", False
        for transition in transitions:
            assert transition.before == (level if transition.kind is not Kind.REPEATED else transition.level)
            assert transition.told is (transition.why == "")
            level = transition.level
            if transition.kind is Kind.RESOLVED:
                assert transition.told is told
                told = False
            elif transition.told:
                assert transition.kind in {Kind.FIRED, Kind.ESCALATED, Kind.ANNOUNCED, Kind.REPEATED}
                told = True
        moments = [transition.moment for transition in transitions]
        assert moments == sorted(moments)
