"""Points of process variables are in the file whole, with their times, alarms and pulse ids."""

import h5py
import numpy as np
import pytest
from tests.channel_events import channels_of

from forebay.errors import ConfigError, StoreError
from forebay.store.channel_manifest import ChannelRecording, from_json
from forebay.store.channel_points import write_points
from forebay.store.check import check_file
from forebay.wire.pv_points import PvPoints

pytestmark = pytest.mark.flow

RECORDING = ChannelRecording("epics", "pvdata", channels=("GONE:PV",), general={"user": "p1"})


def points(name, data, shape=None, connected=None, pulse_id=None):
    n = 2 if data is None else len(data)
    is_connected = np.ones(n, bool) if connected is None else np.array(connected)
    if shape is None:
        shape = np.zeros((n, 0)) if data is None else np.tile(data.shape[1:], (n, 1))
    return PvPoints(
        name,
        data,
        np.array(shape, np.uint32).reshape(n, -1),
        (),
        np.arange(n, dtype=np.int64) * 1_000_000 + 5000,
        np.arange(n, dtype=np.int64),
        is_connected,
        np.zeros(n, np.uint8),
        np.where(is_connected, "NO_ALARM", "unknown"),
        np.arange(n, dtype=np.int64) + 100 if pulse_id is None else np.array(pulse_id),
        np.ones(n, bool) if pulse_id is None else np.array(pulse_id) >= 0,
    )


def test_every_point_is_there(tmp_path):
    came = [
        points("A", np.array([1.5, 0.0, 2.5]), connected=[True, False, True], pulse_id=[-1, 100, 100]),
        points("T", np.array(["open", "shut"])),
        points("W", np.array([[1, 2, 3], [4, 5, 6]], ">i2")),
        points("NEVER", None),
    ]
    manifest = write_points(tmp_path / "a.h5", RECORDING, came)
    found = channels_of(tmp_path / "a.h5")
    assert set(found) == {"A", "T", "W"}
    assert found["A"]["data"].tolist() == [[1.5], [0.0], [2.5]]
    assert found["A"]["pulse_id"].tolist() == [[0], [100], [100]]
    assert found["A"]["timestamp"].tolist() == [[5], [1005], [2005]]
    assert found["A"]["connected"].tolist() == [[1], [0], [1]]
    assert found["A"]["status"].tolist() == [[b"NO_ALARM"], [b"unknown"], [b"NO_ALARM"]]
    assert found["T"]["data"].tolist() == [[b"open"], [b"shut"]]
    assert found["W"]["data"].dtype == "<i2"
    assert found["W"]["data"].tolist() == [[1, 2, 3], [4, 5, 6]]
    with h5py.File(tmp_path / "a.h5") as file:
        assert all(len(file[name]) == 0 for name in ("A", "T", "W", "NEVER", "GONE:PV"))
        assert from_json(file["general/manifest"][()]) == manifest
    assert {name: account.rows for name, account in manifest.channels.items()} == {
        "GONE:PV": 0,
        "A": 3,
        "T": 2,
        "W": 2,
        "NEVER": 0,
    }
    assert [problem.check for problem in check_file(tmp_path / "a.h5").problems] == ["channels", "channels"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_values_of_different_shapes_have_groups_of_their_own(tmp_path):
    data = np.array([[1, 0, 0], [1, 2, 3], [0, 0, 0], [9, 0, 0]])
    came = points("W", data, shape=[1, 3, 0, 1], connected=[True, True, False, True])
    manifest = write_points(tmp_path / "a.h5", RECORDING, [came])
    found = channels_of(tmp_path / "a.h5")
    assert found["W"]["data"].tolist() == [[1], [0], [9]]
    assert found["W"]["pulse_id"].tolist() == [[100], [102], [103]]
    assert found["W(1)"]["data"].tolist() == [[1, 2, 3]]
    assert manifest.channels["W"].rows == 4


def test_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="pvdata"):
        write_points(tmp_path / "a.h5", ChannelRecording("epics", "bsread"), [])
    (tmp_path / "a.h5").write_bytes(b"mine")
    with pytest.raises(StoreError, match="exists"):
        write_points(tmp_path / "a.h5", RECORDING, [])
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_nothing_is_left_when_it_fails(tmp_path):
    def broken():
        yield points("A", np.arange(3))
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="Cannot write"):
        write_points(tmp_path / "a.h5", RECORDING, broken())
    assert not list(tmp_path.iterdir())
