"""Patterns of keys, against a plain translation to regular expressions, and messages as bytes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import BusError
from forebay.ports import Message
from forebay.run.bus.inbox import Inbox
from forebay.run.bus.pattern import matches
from forebay.run.bus.text import decode_body, decode_message, encode_body, encode_message

pytestmark = pytest.mark.unit

WORDS = st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=5).map(".".join)
PATTERNS = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), min_size=1, max_size=5).map(".".join)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("pattern", "key", "meant"),
    [
        ("#", "", True),
        ("#", "a.b.c", True),
        ("*", "a", True),
        ("*", "a.b", False),
        ("a.#", "a", True),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.*.b", "a.b", False),
        ("a", "a.b", False),
        ("a.b", "a", False),
        ("bs.*", "bs.*", True),
        ("a+", "aa", False),
    ],
)
def test_patterns_by_example(pattern, key, meant):
    assert matches(pattern, key) is meant


@given(PATTERNS, WORDS)
def test_patterns_as_regular_expressions(pattern, key):
    parts = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}
    text = "".join(parts.get(word, re.escape(word) + r"\.") for word in pattern.split("."))
    assert matches(pattern, key) is (re.fullmatch(text, f"{key}.") is not None)


def test_a_hostile_pattern_ends():
    assert not matches("#.a." * 40 + "b", "a." * 90 + "c")


@given(WORDS, st.text(min_size=1, max_size=20), st.dictionaries(st.text(), JSON), st.integers(1, 2**63 - 1))
def test_messages_come_back(key, name, body, time_ns):
    message = Message(key, name, body, {"action": "request_start"}, time_ns)
    assert decode_message(encode_message(message)) == message
    assert decode_body(encode_body(message)) == body


@given(st.binary(max_size=200))
def test_hostile_bytes_are_refused(text):
    for decode in (decode_message, decode_body):
        try:
            decode(text)
        except BusError:
            continue
        assert decode is decode_body


def test_deep_bytes_are_refused():
    with pytest.raises(BusError):
        decode_body(b'{"a":' * 100_000)


def test_a_full_inbox_drops_the_oldest_and_counts():
    inbox = Inbox[int](3)
    for i in range(5):
        inbox.put(i)
    assert inbox.n_lost == 2
    assert [inbox.get(0) for _ in range(4)] == [2, 3, 4, None]
    inbox.close()
    assert inbox.get(1000) is None
