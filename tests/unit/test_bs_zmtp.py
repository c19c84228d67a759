"""Frames of ZeroMQ's protocol, there and back, and from hostile peers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import ConfigError, WireError
from forebay.front.bsread.arguments import buffer_arguments, writer_arguments
from forebay.stream.bsread import address
from forebay.wire import zmtp

pytestmark = pytest.mark.unit


@given(st.lists(st.binary(max_size=600), min_size=1, max_size=20), st.integers(1, 64))
def test_what_is_sent_is_what_is_read_in_pieces_of_any_size(parts, size):
    data = b"".join(bytes(buffer) for buffer in zmtp.message(parts))
    reader = zmtp.FrameReader()
    frames = [frame for i in range(0, len(data), size) for frame in reader.feed(data[i : i + size])]
    assert [frame.body for frame in frames] == parts
    assert [frame.has_more for frame in frames] == [True] * (len(parts) - 1) + [False]


def test_large_parts_are_not_copied():
    image = memoryview(bytes(zmtp.JOIN_BYTES))
    buffers = zmtp.message([b"head", image, b"", b"tail"])
    assert [len(one) for one in buffers] == [2 + 4 + 9, zmtp.JOIN_BYTES, 2 + 2 + 4]
    assert buffers[1] is image


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_a_wire_error(data):
    reader = zmtp.FrameReader()
    try:
        for frame in reader.feed(data):
            if frame.is_command:
                zmtp.socket_type(zmtp.split_command(frame.body)[1])
    except WireError:
        return


@given(st.binary(min_size=64, max_size=64))
def test_any_greeting_is_one_or_a_wire_error(data):
    with pytest.raises(WireError):
        zmtp.check_greeting(data)


def test_ready_names_the_socket():
    (frame,) = zmtp.FrameReader().feed(zmtp.ready("PULL"))
    name, data = zmtp.split_command(frame.body)
    assert (name, zmtp.socket_type(data)) == (b"READY", "PULL")


def test_a_long_frame_is_refused_before_it_is_there():
    with pytest.raises(WireError, match="4097"):
        zmtp.FrameReader().feed(b"\x02" + (4097).to_bytes(8, "big"))


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("tcp://h:1", "tcp://h:1"),
        ("h", "tcp://h:9999"),
        ("h:12", "tcp://h:12"),
        ("tcp://h", "tcp://h:9999"),
        ("tcp://[::1]:5", "tcp://[::1]:5"),
    ],
)
def test_addresses_are_completed(text, whole):
    assert address(text) == whole


@pytest.mark.parametrize("text", ["", "tcp://", "ipc:///a", "h:0", "h:65536", "h:x", "a/b:1", "udp://h:1"])
def test_addresses_that_are_none(text):
    with pytest.raises(ConfigError, match="not the address"):
        address(text)


def test_arguments_are_those_of_the_original():
    buffer = buffer_arguments(["tcp://h:1", "-o", "12300", "-b", "50", "--log_level", "DEBUG", "--analyzer"])
    assert (buffer.output_port, buffer.buffer_length, buffer.analyzer) == (12300, 50, True)
    assert (buffer_arguments(["h"]).output_port, buffer_arguments(["h"]).buffer_length) == (8082, 100)
    writer = writer_arguments(["tcp://127.0.0.1:12300", "works.h5", "-1", "4000", "--log_level=DEBUG"])
    assert (writer.user_id, writer.rest_port, writer.output_file) == (None, 4000, "works.h5")
    assert writer_arguments(["s", "f", "1000", "4000"]).user_id == 1000


@pytest.mark.parametrize(
    "words", [["s", "f", "-2", "1"], ["s", "f", "me", "1"], ["s", "f", "-1", "0"], ["s"]]
)
def test_wrong_arguments(words, capsys):
    with pytest.raises(SystemExit) as ended:
        writer_arguments(words)
    assert ended.value.code == 2
    with pytest.raises(SystemExit):
        buffer_arguments(["s", "-b", "0"])


def test_a_ring_on_disk_that_holds_nothing_is_refused(capsys):
    with pytest.raises(SystemExit):
        buffer_arguments(["s", "--ring_bytes", "1000000"])
    assert "16 MiB" in capsys.readouterr().err
