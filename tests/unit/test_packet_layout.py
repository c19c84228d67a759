"""A detector is a table: what it joins it splits, and bytes that cannot be right are refused."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import ConfigError, WireError
from forebay.wire.eiger import eiger
from forebay.wire.jungfrau import jungfrau
from forebay.wire.packet import join, pulse_id_of, split

pytestmark = pytest.mark.unit

LAYOUTS = [jungfrau(), jungfrau("bunchid-int64"), jungfrau("framenum"), eiger(8), eiger(16), eiger(32)]


def headers_of(layout, pulse_id):
    headers = np.zeros(layout.packets_per_frame, layout.header)
    headers[layout.pulse_id] = pulse_id
    headers[layout.packet] = np.arange(layout.packets_per_frame)
    return headers


@pytest.mark.parametrize(
    "layout", LAYOUTS, ids=lambda layout: f"{layout.name}-{layout.pulse_id}-{layout.pixel}"
)
def test_what_is_joined_is_split(layout):
    rows, columns = layout.frame_shape
    frame = (np.arange(rows * columns) % 251).astype(layout.pixel).reshape(layout.frame_shape)
    datagrams = join(layout, headers_of(layout, 12345), frame)
    assert datagrams.shape == (layout.packets_per_frame, layout.packet_bytes)
    payloads = []
    for i, datagram in enumerate(datagrams):
        header, payload = split(layout, datagram.tobytes())
        assert int(header[layout.packet]) == i
        assert pulse_id_of(layout, header) == 12345
        payloads.append(payload)
    assert b"".join(payloads) == frame.tobytes()


def test_sizes_are_the_vendors():
    assert jungfrau().header.itemsize == eiger().header.itemsize == 48
    assert jungfrau().packet_bytes == 8240
    assert eiger(16).packet_bytes == 4144
    assert [eiger(depth).packets_per_frame for depth in (8, 16, 32)] == [32, 64, 128]


@given(st.binary(max_size=100))
def test_short_datagrams_are_refused(data):
    with pytest.raises(WireError):
        split(jungfrau(), data)


@given(st.binary(min_size=48, max_size=48), st.sampled_from(LAYOUTS))
def test_any_header_is_read_or_refused(header, layout):
    datagram = header + bytes(layout.payload_bytes)
    try:
        found, _ = split(layout, datagram)
    except WireError:
        return
    assert 0 <= pulse_id_of(layout, found) < 2**63
    assert int(found[layout.packet]) < layout.packets_per_frame


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 1.5, 2.0**53])
def test_pulse_ids_that_are_no_integers(value):
    layout = jungfrau()
    with pytest.raises(WireError):
        pulse_id_of(layout, headers_of(layout, value)[0])


@pytest.mark.parametrize("value", [0.0, 1.0, 2.0**53 - 1])
def test_pulse_ids_as_doubles(value):
    layout = jungfrau()
    assert pulse_id_of(layout, headers_of(layout, value)[0]) == int(value)


def test_integers_beyond_the_range():
    layout = jungfrau("bunchid-int64")
    with pytest.raises(WireError):
        pulse_id_of(layout, headers_of(layout, -1)[0])
    layout = eiger()
    with pytest.raises(WireError):
        pulse_id_of(layout, headers_of(layout, 2**63)[0])


def test_a_table_that_cannot_be():
    with pytest.raises(ConfigError, match="no field 'bunchid2'"):
        dataclasses.replace(jungfrau(), pulse_id="bunchid2")
    with pytest.raises(ConfigError, match="do not fill"):
        dataclasses.replace(jungfrau(), packets_per_frame=127)
