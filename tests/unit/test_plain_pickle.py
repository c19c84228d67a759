"""Pickles of plain values: every unpickler reads ours, and from others' nothing else is taken."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import WireError
from forebay.wire.plain_pickle import decode, encode

pytestmark = pytest.mark.unit

LEAVES = st.none() | st.booleans() | st.integers(-(2**100), 2**100) | st.floats(allow_nan=False) | st.text()
REPLIES = st.dictionaries(st.text(), st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=5)))
REPLY = {"name": "TM:7", "ip": "127.0.0.107", "status": "OK", "msg": ["ping", "get_rate"]}


@given(REPLIES)
def test_any_unpickler_reads_ours(reply):
    assert pickle.loads(encode(reply)) == reply
    assert decode(encode(reply)) == reply


@given(REPLIES, st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_plain_values_of_others_are_read(reply, protocol):
    assert decode(pickle.dumps(reply, protocol)) == reply


def test_the_same_text_twice_is_read():
    word = "x" * 10
    assert decode(pickle.dumps({"a": word, "b": word}, 4)) == {"a": word, "b": word}


class Bomb:
    def __reduce__(self):
        return (print, ("called",))


@pytest.mark.parametrize(
    "other",
    [{"msg": Bomb()}, {"msg": print}, {"msg": {1, 2}}, {1: "a"}, ["a"], "a", {"msg": b"bytes"}, {"msg": 1j}],
    ids=["object", "function", "set", "number as key", "list", "text", "bytes", "complex"],
)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nothing_else_is_taken(other, protocol, capsys):
    with pytest.raises(WireError):
        decode(pickle.dumps(other, protocol))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("message", [b"\x80\x03}X\1\0\0\0a(s.", b"\x80\x03}X\1\0\0\0a](as.", b"\x80\x03}}s."])
def test_a_mark_is_no_value(message):
    with pytest.raises(WireError):
        decode(message)


def test_containers_are_not_taken_twice():
    shared = ["a"] * 3
    with pytest.raises(WireError, match="twice"):
        decode(pickle.dumps({"a": shared, "b": shared}, 3))
    with pytest.raises(WireError, match="bytes"):
        decode(pickle.dumps({"a": "x" * 2**17}))


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"\x80\x03}(" + data + b"u."))
def test_hostile_bytes_are_refused(data):
    try:
        found = decode(data)
    except WireError:
        return
    assert isinstance(found, dict)


@given(st.data())
def test_a_damaged_reply_is_refused_or_plain(data):
    message = bytearray(encode(REPLY))
    message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(message))
    except WireError:
        return
    assert all(isinstance(key, str) for key in found)
