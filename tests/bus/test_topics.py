import re
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hostpulse.bus.errors import UsageError, WrongTopicError
from hostpulse.bus.topics import MAXIMUM_PART_LENGTH, HostTopic, Topics, escape, unescape

# Everything that a host can be called: also what Python makes of bytes that are not UTF-8, and look-alikes of escapes.
_byte_surrogates = st.integers(0xDC80, 0xDCFF).map(chr)
_look_alikes = st.sampled_from(["_x2F", "_x", "_x2", "__x2F", "_x5Fx2F", "_x2f", "_X2F", "_x_x2F"])
names = (
    st.lists(
        st.one_of(
            st.characters(exclude_categories=["Cs"]), st.text("_xX25Ff/", max_size=6), _look_alikes, _byte_surrogates
        ),
        max_size=12,
    )
    .map("".join)
    .map(lambda text: text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))
)


@given(names)
@example("_x2F")
@example("\udcff_x")
def test_unescape_undoes_escape(name):
    assert unescape(escape(name)) == name


@given(st.text(st.characters(), max_size=20))
@example("\ud800")
@example("\udcc3\udca9")
def test_any_text_at_all_can_be_escaped_and_comes_back(name):
    assert unescape(escape(name)) == name


@given(names)
def test_escaped_text_is_safe_everywhere(name):
    assert re.fullmatch(r"[A-Za-z0-9_.-]*", escape(name))


@given(names, names)
def test_two_names_never_become_one(one, other):
    assert (escape(one) == escape(other)) == (one == other)


@given(st.text("abcxyzABCXYZ0189_.-", max_size=20).filter(lambda name: "_x" not in name))
def test_common_names_stay_as_they_are(name):
    assert escape(name) == name


@given(st.text(st.characters(), max_size=40))
def test_unescape_takes_anything(part):
    unescape(part)


def test_topics_of_a_host():
    topics = Topics("home/pulse")
    assert topics.status("a b") == "home/pulse/a_x20b/status"
    assert topics.info("server-1.lan") == "home/pulse/server-1.lan/info"
    assert topics.sample("münchen", "cpu") == "home/pulse/m_xC3_xBCnchen/cpu"
    assert (topics.all_hosts, topics.everything) == ("home/pulse/+/+", "home/pulse/#")


@given(names.filter(lambda name: 0 < len(escape(name)) <= MAXIMUM_PART_LENGTH))
def test_parse_undoes_sample(name):
    topics = Topics()
    assert topics.parse(topics.sample(name, "cpu")) == HostTopic(escape(name), "cpu")


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "hostpulse",
        "hostpulse/",
        "hostpulse/a",
        "hostpulse//cpu",
        "hostpulse/a/",
        "hostpulse/a/cpu/",
        "hostpulse/a/cpu/x",
        "hostpulsed/a/cpu",
        "/hostpulse/a/cpu",
        "other/a/cpu",
        f"hostpulse/{'a' * 256}/cpu",
        f"hostpulse/a/{'c' * 256}",
    ],
)
def test_topics_that_are_not_ours(topic):
    with pytest.raises(WrongTopicError, match="<host>/<subsystem>"):
        Topics().parse(topic)


@given(st.text(max_size=600))
def test_parse_takes_anything(text):
    for topic in (text, f"hostpulse/{text}"):
        with suppress(WrongTopicError):
            assert "".join(Topics().parse(topic))


@pytest.mark.parametrize(
    "prefix", ["", "/", "a/", "/a", "a//b", "a/+", "#", "a#", "$SYS", "$share/x", "a\0b", "a\nb", "\x7f"]
)
def test_a_prefix_that_cannot_be_one(prefix):
    with pytest.raises(UsageError, match=re.escape("mqtt.prefix")):
        Topics(prefix)


@pytest.mark.parametrize("prefix", ["hostpulse", "home/cellar/pulse", "Zuhause im Keller", "a$b"])
def test_a_prefix_that_can(prefix):
    assert Topics(prefix).parse(f"{prefix}/h/cpu") == HostTopic("h", "cpu")
