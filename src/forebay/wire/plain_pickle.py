"""Replies of SSDAQ's simulated modules: pickles of plain values, written and read without the pickle machine.

A pickle is a program that may call anything. The clients of the original expect one; ours holds numbers, text
and lists of them, and from others' no more than these is taken: nothing is ever looked up or called.
Source of the format: module `pickletools` of Python, opcodes of protocols 2 to 5.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Mapping, Sequence

from forebay.errors import WireError

Plain = bool | int | float | str | None | list["Plain"]

MOST_BYTES = 2**16
"""Longer pickles are refused."""

_PROTOCOL = b"\x80\x03"  # as the original writes
_TEXT = {"SHORT_BINUNICODE", "BINUNICODE"}
_NUMBER = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
_CONSTANT: dict[str, bool | None] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_STORE = {"MEMOIZE", "BINPUT", "LONG_BINPUT"}
_FETCH = {"BINGET", "LONG_BINGET"}
_NOTHING = {"PROTO", "FRAME"}
_MARK = object()


def encode(reply: Mapping[str, Plain]) -> bytes:
    """Return the pickle of a dict, of protocol 3, that every unpickler reads."""
    items = b"".join(_text(key) + _value(value) for key, value in reply.items())
    return _PROTOCOL + b"}(" + items + b"u."


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _value(value: Plain) -> bytes:
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return _text(value)
    return b"](" + b"".join(map(_value, value)) + b"e"


def decode(message: bytes) -> dict[str, Plain]:
    """Return the dict of a pickle of plain values, of any protocol from 2 on.

    Raises
    ------
    WireError
        If it is anything else, or too long.
    """
    if len(message) > MOST_BYTES:
        raise WireError(f"A reply has {len(message)} bytes, more than {MOST_BYTES}.")
    reader = _Reader()
    try:
        for opcode, argument, _ in pickletools.genops(message):
            reader.take(opcode.name, argument)
    except WireError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, struct.error) as error:
        raise WireError(f"A reply is no pickle of plain values: {error}.") from error
    return reader.result()


class _Reader:
    """What was read so far, and what was remembered; containers are never shared."""

    def __init__(self) -> None:
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def take(self, name: str, argument: object) -> None:
        stack = self._stack
        if name in _TEXT or name in _NUMBER:
            stack.append(argument)
        elif name in _CONSTANT:
            stack.append(_CONSTANT[name])
        elif name in _STORE:
            self._memo[len(self._memo) if name == "MEMOIZE" else int(str(argument))] = stack[-1]
        elif name in _FETCH:
            found = self._memo[int(str(argument))]
            if isinstance(found, dict | list):
                raise WireError("A reply holds something twice.")
            stack.append(found)
        elif name in _BUILD:
            _BUILD[name](stack)
        elif name not in _NOTHING and name != "STOP":
            raise WireError(f"A reply holds more than plain values: {name}.")

    def result(self) -> dict[str, Plain]:
        if len(self._stack) != 1 or not isinstance(self._stack[0], dict):
            raise WireError("A reply is no dict.")
        return self._stack[0]


def _from_mark(stack: list[object]) -> list[object]:
    place = len(stack) - 1 - stack[::-1].index(_MARK)
    found = stack[place + 1 :]
    del stack[place:]
    return found


def _set(stack: list[object], items: Sequence[object]) -> None:
    target = stack[-1]
    keys = items[::2]
    is_named = len(items) % 2 == 0 and all(isinstance(key, str) for key in keys)
    if not isinstance(target, dict) or not is_named or _MARK in items:
        raise WireError("A reply is no dict with text as keys.")
    target.update(zip(keys, items[1::2], strict=True))


def _extend(stack: list[object], items: Sequence[object]) -> None:
    target = stack[-1]
    if not isinstance(target, list) or _MARK in items:
        raise WireError("A reply appends to what is no list.")
    target.extend(items)


def _set_one(stack: list[object]) -> None:
    items = [stack.pop(), stack.pop()][::-1]
    _set(stack, items)


_BUILD: dict[str, Callable[[list[object]], None]] = {
    "MARK": lambda stack: stack.append(_MARK),
    "EMPTY_DICT": lambda stack: stack.append({}),
    "EMPTY_LIST": lambda stack: stack.append([]),
    "SETITEM": _set_one,
    "SETITEMS": lambda stack: _set(stack, _from_mark(stack)),
    "APPEND": lambda stack: _extend(stack, [stack.pop()]),
    "APPENDS": lambda stack: _extend(stack, _from_mark(stack)),
}
