"""Inlets in the configuration: where they take and publish unless told, and what is refused."""

import pytest

from forebay.config import parse
from forebay.errors import ConfigError
from forebay.service.roles import services_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("kind", "end", "port"),
    [
        ("logs", ("127.0.0.1", 10001), 9001),
        ("triggers", ("127.0.0.1", 8307), 9002),
        ("timestamps", ("192.168.101.102", 6666), 9003),
        ("monitoring", ("127.0.0.101", 10002), 9005),
        ("telescope", ("", 0), 9006),
    ],
)
def test_the_originals_ends_are_the_defaults(kind, end, port):
    config = parse({"inlets": {"one": {"kind": kind}}}, "test")
    one = config.inlets["one"]
    assert one.end == end
    assert [(str(out.address), out.port, out.mode) for out in one.outlets] == [("127.0.0.101", port, "local")]
    assert ("inlet", "one") in services_of(config)


def test_no_publishers_are_none():
    config = parse({"inlets": {"one": {"kind": "logs", "publishers": []}}}, "test")
    assert config.inlets["one"].outlets == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": {}}, "kind"),
        ({"a": {"kind": "words"}}, "kind"),
        ({"a": {"kind": "telescope", "port": 7}}, "no address and no port"),
        ({"a": {"kind": "logs", "file": "x"}}, "only a telescope"),
        ({"a": {"kind": "logs", "monitor": "here"}}, "monitor"),
        ({"a": {"kind": "telescope", "period_s": 0}}, "period_s"),
        ({"a": {"kind": "logs"}, "b": {"kind": "logs", "port": 7}}, "both publish at 127.0.0.101:9001"),
    ],
)
def test_what_cannot_be_is_refused_by_name(value, said):
    with pytest.raises(ConfigError, match=said):
        parse({"inlets": value}, "test")
