"""psi-bsread sends to the codec and receives from it: same values, same bytes."""

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import zmq

from forebay.wire.bsread import HeaderCache, announce, decode, describe, lz4, message

pytestmark = pytest.mark.compat

SCRIPT = Path(__file__).parent / "bsread_peer.py"
PYTHON = os.environ.get("FOREBAY_PSI_BSREAD_PYTHON", sys.executable)
"""An interpreter that has psi-bsread, which may live in an environment of its own."""

if sys.executable == PYTHON and importlib.util.find_spec("bsread") is None:
    pytest.skip(
        "psi-bsread is not installed: dependency group 'compat', or FOREBAY_PSI_BSREAD_PYTHON",
        allow_module_level=True,
    )

spec = importlib.util.spec_from_file_location("bsread_peer", SCRIPT)
peer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peer)

TIME_NS = peer.TIME[0] * 10**9 + peer.TIME[1]


@pytest.fixture
def bound():
    """Return a function that opens a socket and gives it with the port that it is bound to."""
    with zmq.Context() as context, ExitStack() as stack:

        def open_one(kind):
            socket = stack.enter_context(context.socket(kind))
            socket.linger = 0
            socket.sndtimeo = 30_000
            return socket, socket.bind_to_random_port("tcp://127.0.0.1")

        yield open_one


def start(*arguments):
    return subprocess.Popen(
        [PYTHON, SCRIPT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out


def ours(values, compression, pulse_id):
    channels = [describe(name, value, compression) for name, value in values.items()]
    return message(announce(channels, compression), pulse_id, TIME_NS, values)


def test_what_psi_bsread_sends_is_what_we_decode_and_would_send(bound):
    sockets, ports = zip(*(bound(zmq.PULL) for _ in peer.COMPRESSIONS), strict=True)
    process = start("send", *ports)
    n_values = 0
    try:
        for socket, compression in zip(sockets, peer.COMPRESSIONS, strict=True):
            cache = HeaderCache()
            for pulse_id, values in enumerate(peer.messages(compression)):
                assert socket.poll(30_000), process.poll()
                parts = socket.recv_multipart()
                event = decode(parts, cache)
                assert (event.pulse_id, event.time_ns) == (pulse_id, TIME_NS)
                n_values += compare(event.arrays, values)
                same_bytes(parts, ours(values, compression, pulse_id), compression)
    finally:
        finish(process)
    assert n_values > 500


def compare(arrays, values):
    assert list(arrays.header.positions) == list(values)
    for name, value in values.items():
        if is_missing(value):
            assert name not in arrays
            continue
        sent = np.asarray(value) if np.ndim(value) else np.asarray([value])
        assert arrays[name].shape == sent.shape
        assert arrays[name].dtype == sent.dtype
        assert np.array_equal(arrays[name], sent)
        assert arrays.timestamp_ns(name) == TIME_NS
    return len(values)


def is_missing(value):
    return value is None or np.size(value) == 0 or (isinstance(value, str) and not value)


def same_bytes(theirs, made, compression):
    assert len(made) == len(theirs)
    for i, (frame, expected) in enumerate(zip(made, theirs, strict=True)):
        if compression == "lz4" and expected and (i == 1 or (i > 1 and i % 2 == 0)):
            assert bytes(frame[:4]) == expected[:4]  # releases of LZ4 find other matches
            assert lz4.decompress(frame).tobytes() == lz4.decompress(expected).tobytes()
        elif compression == "lz4" and i == 0:
            assert without_hash(frame) == without_hash(expected)
        else:
            assert bytes(frame) == expected, i


def without_hash(frame):
    return {**json.loads(bytes(frame)), "hash": ""}


def test_what_we_send_psi_bsread_receives(bound):
    # its reader cannot decode lz4 of big-endian channels, its own included
    sent = [
        (values, compression)
        for compression in peer.COMPRESSIONS
        for values in peer.messages(compression)
        if not (compression == "lz4" and any(name.startswith(">") for name in values))
    ]
    socket, port = bound(zmq.PUSH)
    process = start("receive", port, len(sent))
    try:
        for pulse_id, (values, compression) in enumerate(sent):
            socket.send_multipart(ours(values, compression, pulse_id))
    finally:
        lines = finish(process).splitlines()
    assert len(lines) == len(sent)
    for pulse_id, (line, (values, _)) in enumerate(zip(lines, sent, strict=True)):
        received = json.loads(line)
        assert received[:3] == [pulse_id, *peer.TIME]
        assert list(received[3]) == list(values)
        for name, (value, *time) in received[3].items():
            expected = values[name]
            if is_missing(expected):
                assert value is None
                continue
            assert time == list(peer.TIME)
            if isinstance(expected, str):
                assert value == expected
            else:
                assert value == as_the_reference_decodes(np.asarray(expected))


def as_the_reference_decodes(array):
    """It drops leading axes of length 1 and makes scalars of single elements."""
    shape = list(array.shape)
    while shape and (shape[0] == 1 or array.size == 1):
        shape.pop(0)
    return [array.dtype.newbyteorder("=").name, shape, array.reshape(shape).tolist()]
