"""Frames of xylem both ways, and bytes that are none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import WireError
from forebay.wire import xylem as x

pytestmark = pytest.mark.unit

TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=4)
TIMES = st.floats(0, 2e9)
EXTRA = st.dictionaries(st.sampled_from(["who", "sequence", "run"]), JSON)

MESSAGES = st.one_of(
    st.builds(
        x.Register,
        name=TEXT,
        short_name=TEXT,
        heartbeat_ms=st.integers(1, 10000),
        connections=st.lists(TEXT, max_size=3),
        addresses=st.dictionaries(TEXT, TEXT, max_size=3),
        actions=st.dictionaries(TEXT, TEXT, max_size=3),
        confirms=st.booleans(),
        instance=TEXT,
    ),
    st.builds(x.Registered, addresses=st.dictionaries(TEXT, TEXT | st.just({}), max_size=3)),
    st.builds(x.Refused, reason=TEXT),
    st.just(x.Ping()),
    st.just(x.Pong()),
    st.just(x.StateRequest()),
    st.builds(x.StateUpdate, UPDATE=st.sampled_from(x.STATES), transition=st.none() | st.integers(0, 99)),
    st.builds(x.StateReport, state=TEXT, transition=st.integers(0, 99), failed=TEXT, account=OBJECTS),
    st.builds(x.Action, id=st.integers(1, 2**40), name=TEXT, params=st.lists(JSON, max_size=3)),
    st.builds(
        x.ActionResult, id=st.integers(1, 2**40), name=TEXT, params=st.lists(JSON, max_size=3), result=JSON
    ),
    st.builds(x.Control, header=TEXT, message=JSON, more=EXTRA),
    st.builds(x.Data, header=OBJECTS, payload=st.binary(max_size=50)),
    st.builds(x.Info, timestamp=TIMES, component=TEXT, text=TEXT, more=EXTRA),
    st.builds(x.Log, timestamp=TIMES, component=TEXT, level=st.sampled_from(x.LEVELS), text=TEXT),
)


@given(MESSAGES)
def test_what_is_sent_is_what_is_read(message):
    assert x.decode(x.encode(message)) == message


def test_frames_are_those_of_the_original():
    assert x.encode(x.StateUpdate("READY")) == [b"STATE", b'{"UPDATE": "READY"}']
    assert x.encode(x.Action(3, "sleep", [1])) == [b"ACTION", b'{"id": 3, "name": "sleep", "params": [1]}']
    assert x.encode(x.Control("CLIENTS", "")) == [
        b"CONTROLLER MESSAGE",
        b'{"header": "CLIENTS", "message": ""}',
    ]
    head = b'{"timestamp": 1.5, "component": "LArPix board"}'
    assert x.encode(x.Info(1.5, "LArPix board", "Ending run")) == [b"INFO", head, b'"Ending run"']
    new = x.encode(x.Register("Offline storage", "CONSUMER", 300, ["AGGREGATOR"]))
    assert json.loads(new[1]) == {
        "name": "Offline storage",
        "short_name": "CONSUMER",
        "heartbeat_ms": 300,
        "connections": ["AGGREGATOR"],
        "addresses": {},
        "actions": {},
    }
    assert x.encode(x.Registered({"BOARD": {}})) == [b"SUCCESS", b'{"BOARD": {}}']


@given(
    st.lists(
        st.sampled_from([*x._SIZES, b"REQUEST", b"[]", b"{}", b'""', b"\xff", b"[" * 9000]) | st.binary()
    )
)
def test_hostile_frames_are_refused_or_read(frames):
    try:
        x.decode(frames)
    except WireError:
        return
    assert frames


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"NEW"],
        [b"NEW", b"{}"],
        [b"NEW", b'{"name": 1, "short_name": ""}'],
        [b"STATE", b"STOP"],
        [b"ACTION", b'{"id": "1", "name": "a"}'],
        [b"CONTROLLER MESSAGE", b'{"header": "STATE"}'],
        [b"LOG", b'{"timestamp": 1, "component": "", "level": "LOUD"}', b'""'],
        [b"INFO", b"[1]", b'""'],
        [b"DATA", b"[]", b""],
        [b"PING", b""],
    ],
)
def test_what_is_no_message_is_said(frames):
    with pytest.raises(WireError):
        x.decode(frames)


def test_what_is_no_json_is_not_sent():
    with pytest.raises(WireError, match="JSON"):
        x.encode(x.ActionResult(1, "a", [], object()))
