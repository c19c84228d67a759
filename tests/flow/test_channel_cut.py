"""A recording whose last pulse is named after later ones came holds what was asked for, and says so."""

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.channel_events import channels_of, event, image

from forebay.store import channel_tree
from forebay.store.channel_file import ChannelFile
from forebay.store.channel_layout import LAYOUTS
from forebay.store.channel_manifest import ChannelRecording, from_json
from forebay.store.check import check_file
from forebay.store.manifest import Request

pytestmark = pytest.mark.flow

EVERY = pytest.mark.parametrize("layout", LAYOUTS)


def values_of(pulse_id):
    values = {"F": float(pulse_id), "T": f"text {pulse_id}", "CAM:FPICTURE": image(pulse_id)}
    if pulse_id % 3 == 0:
        values["SLOW"] = np.arange(4) + pulse_id
    if pulse_id >= 130:
        values["LATE"] = 1.0
    return values


def recorded(path, pulses, last, *, layout="bsread", requested=None, size=7, **recording):
    file = ChannelFile(path, ChannelRecording("stream", layout=layout, **recording))
    events = [event(p, values_of(p)) for p in pulses]
    for i in range(0, len(events), size):
        file.write(events[i : i + size])
    file.conclude("last pulse", requested=requested, last_pulse=last)
    file.close()
    return file


@EVERY
@pytest.mark.parametrize("block", [4, 1000])
@pytest.mark.parametrize("last", [99, 100, 117, 129, 130, 149, 500])
def test_what_was_written_behind_the_last_pulse_is_not_in_the_file(
    tmp_path, monkeypatch, layout, block, last
):
    monkeypatch.setattr(channel_tree, "_BLOCK_MESSAGES", block)
    path = tmp_path / "a.h5"
    file = recorded(path, range(100, 150), last, layout=layout)
    kept = [p for p in range(100, 150) if p <= last]
    found = channels_of(path)
    assert set(found) == {name for p in kept for name in values_of(p)}
    for name, channel in found.items():
        ids = [p for p in kept if name in values_of(p)]
        assert channel["pulse_id"].reshape(-1).tolist() == ids
        for value, p in zip(channel["data"], ids, strict=True):
            wanted = values_of(p)[name]
            if name == "T":
                assert np.asarray(value).item().decode() == wanted
            else:
                np.testing.assert_array_equal(np.reshape(value, -1), np.reshape(wanted, -1))
        assert {len(column) for column in channel.values()} == {len(ids)}
    assert file.counters == {
        "received": 50,
        "written": len(kept),
        "repeated": 0,
        "not_written": 0,
        "cut": 50 - len(kept),
    }
    report = check_file(path)
    assert not [one for one in report.problems if one.severity == "problem"], report.problems
    assert set(file.manifest.channels) == set(found)
    assert file.manifest.sources["stream"].got == len(kept)
    assert file.manifest.sources["stream"].missing.n == 0


@pytest.mark.parametrize("last", [117, 140])
def test_the_manifest_says_what_was_asked_for_in_the_end(tmp_path, last):
    path = tmp_path / "a.h5"
    asked = Request(pulses=f"95..{last}")
    recorded(path, range(100, 150), last, requested=asked, size=50)
    with h5py.File(path) as file:
        manifest = from_json(file["general/manifest"][()])
    assert manifest.requested == asked
    assert manifest.sources["stream"].missing.ranges == ["95..99"]
    assert manifest.sources["stream"].expected == last - 94


def test_without_a_last_pulse_nothing_is_cut(tmp_path):
    file = recorded(tmp_path / "a.h5", range(100, 150), None)
    assert file.counters["written"] == 50
    assert file.manifest.requested == Request()


def test_a_type_that_changed_behind_the_last_pulse_leaves_no_trace(tmp_path):
    path = tmp_path / "a.h5"
    file = ChannelFile(path, ChannelRecording("stream"))
    file.write([event(p, {"A": p if p < 20 else float(p), "ASKED": None}) for p in range(10, 30)])
    file.conclude("last pulse", last_pulse=15)
    file.close()
    assert set(channels_of(path)) == {"A"}
    assert file.manifest.channels["A"].groups == {"/data/A": 6}
    with h5py.File(path) as found:
        assert list(found["data"]) == ["A", "ASKED"]


def test_a_channel_asked_for_that_came_too_late_is_announced_without_values(tmp_path):
    path = tmp_path / "a.h5"
    file = recorded(path, range(100, 150), 120, channels=("F", "LATE"))
    assert file.manifest.channels["LATE"].rows == 0
    assert file.manifest.channels["LATE"].missing.n == 21
    with h5py.File(path) as found:
        assert len(found["data/LATE"]) == 0
        assert "LATE(1)" not in found["data"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    n=st.integers(1, 40),
    last=st.integers(0, 50),
    block=st.integers(1, 20),
    size=st.integers(1, 20),
    layout=st.sampled_from(list(LAYOUTS)),
)
def test_the_file_is_that_of_a_stop_in_time(tmp_path, monkeypatch, n, last, block, size, layout):
    monkeypatch.setattr(channel_tree, "_BLOCK_MESSAGES", block)
    for path in tmp_path.iterdir():
        path.unlink()
    late = recorded(tmp_path / "a.h5", range(115, 115 + n), 110 + last, layout=layout, size=size)
    timely = [p for p in range(115, 115 + n) if p <= 110 + last]
    soon = recorded(tmp_path / "b.h5", timely, None, layout=layout, size=size)
    found, wanted = channels_of(tmp_path / "a.h5"), channels_of(tmp_path / "b.h5")
    assert set(found) == set(wanted)
    for name in found:
        for column in found[name]:
            np.testing.assert_array_equal(found[name][column], wanted[name][column])
    assert late.manifest.channels == soon.manifest.channels
    assert late.manifest.sources == soon.manifest.sources
