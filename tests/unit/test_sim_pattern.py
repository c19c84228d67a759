"""Frames of the simulator: pure, plausible, and never those of a neighbouring pulse."""

import numpy as np
import pytest

from forebay.errors import ConfigError
from forebay.sim.beats import Leap, beats
from forebay.sim.detector import _rounds
from forebay.sim.faults import Faults
from forebay.sim.options import Options, headers
from forebay.sim.pattern import CYCLE, PATTERNS, pattern
from forebay.wire.eiger import eiger
from forebay.wire.jungfrau import jungfrau
from forebay.wire.packet import join, pulse_id_of, split

pytestmark = pytest.mark.unit

LAYOUTS = [jungfrau(), jungfrau("framenum"), jungfrau("bunchid-int64"), eiger(8), eiger(16), eiger(32)]
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda x: f"{x.name}-{x.pulse_id}-{x.pixel}")


@pytest.mark.parametrize("name", PATTERNS)
@layouts
def test_frame_fits_the_layout_and_is_pure(name, layout):
    frame = pattern(name, layout, 12, 1)
    assert frame.shape == layout.frame_shape
    assert frame.dtype == layout.pixel
    assert np.array_equal(frame, pattern(name, layout, 12, 1))
    assert np.array_equal(frame, pattern(name, layout, 12 + CYCLE, 1))
    assert not np.array_equal(frame, pattern(name, layout, 13, 1))
    assert not np.array_equal(frame, pattern(name, layout, 12, 0))


@layouts
def test_ramp_changes_every_pixel_within_a_cycle(layout):
    first = pattern("ramp", layout, 0, 0)
    for pulse_id in range(1, CYCLE):
        assert not (first == pattern("ramp", layout, pulse_id, 0)).any()


def test_jungfrau_words_are_plausible():
    stages = pattern("ramp", jungfrau(), 5, 0) >> 14
    assert set(np.unique(stages)) == {0, 1, 3}
    noise = pattern("noise", jungfrau(), 5, 0)
    assert not (noise >> 14).any()
    assert 2400 < noise.mean() < 2600


def test_picture_has_rings_around_the_joint_of_two_modules():
    frames = np.mean([pattern("picture", jungfrau(), p, 0) for p in range(CYCLE)], axis=0)
    on, beside = 511 - round(0.17 * 1024), 511 - round(0.21 * 1024)
    assert frames[on - 2 : on + 3, 500:524].mean() > frames[beside - 2 : beside + 3, 500:524].mean() + 100


def test_unknown_pattern_is_named():
    with pytest.raises(ConfigError, match=r"'nois'.*ramp, noise, picture"):
        pattern("nois", jungfrau(), 1, 0)


@layouts
def test_datagrams_read_back(layout):
    options = Options(layout=layout, n_modules=3, pattern="ramp", daq_rec=77)
    beat = next(beats(1234, 1, 1))
    frame = pattern("ramp", layout, 1234, 2)
    datagrams = join(layout, headers(options, beat, 2), frame)
    payloads = []
    for i, datagram in enumerate(datagrams):
        header, payload = split(layout, datagram.tobytes())
        assert pulse_id_of(layout, header) == 1234
        assert (header["packetnum"], header["debug"], header["module_id"]) == (i, 77, 2)
        assert all(header[name] == value for name, value in layout.constants.items())
        payloads.append(payload)
    assert b"".join(payloads) == frame.tobytes()


def test_beats_leap_once_each_and_count_frames_since_a_restart():
    leaps = (Leap(12, 1), Leap(3, 100))
    found = [(b.pulse_id, b.epoch, b.frame_number) for b in beats(10, 1, 7, leaps)]
    assert found == [(10, 0, 1), (11, 0, 2), (1, 1, 1), (2, 1, 2), (100, 2, 3), (101, 2, 4), (102, 2, 5)]


def test_leap_between_two_steps_happens_at_the_next():
    assert [b.pulse_id for b in beats(0, 10, 4, (Leap(15, 5),))] == [0, 10, 5, 15]


def test_timestamp_follows_the_rate():
    options = Options(layout=jungfrau(), rate_hz=1000)
    stamps = [int(headers(options, beat, 0)["timestamp"][0]) for beat in beats(5, 1, 3)]
    assert stamps == [0, 10_000, 20_000]


def test_rounds_are_bursts_and_end_where_silence_begins():
    faults = Faults.parse(["restart=7:3:0.5"])
    options = Options(layout=jungfrau(), burst=3, count=9, faults=faults)
    rounds = [[b.pulse_id for b in beats_of_round] for beats_of_round in _rounds(options)]
    assert rounds == [[1, 2, 3], [4, 5, 6], [3, 4, 5]]
    faults = Faults.parse(["restart=6:3:0.5"])
    options = Options(layout=jungfrau(), burst=3, count=9, faults=faults)
    beats_by_round = list(_rounds(options))
    assert [[b.pulse_id for b in r] for r in beats_by_round] == [[1, 2, 3], [4, 5], [3, 4, 5], [6]]
    assert [r[0].silence_s for r in beats_by_round] == [0, 0, 0.5, 0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_modules": 0}, "n_modules = 0"),
        ({"rate_hz": -1}, "rate_hz = -1"),
        ({"rate_hz": float("nan")}, "rate_hz = nan"),
        ({"burst": 0}, "burst = 0"),
        ({"start_udp_port": 65535, "n_modules": 2}, "start_udp_port = 65535"),
        ({"pattern": "x"}, "'x'"),
        ({"sources": ("127.0.0.1",), "n_modules": 2}, "sources has 1"),
        ({"count": -1}, "count = -1"),
    ],
)
def test_wrong_option_is_named(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Options(layout=jungfrau(), **wrong)
