"""A run as a series of files: cut by time and size, closed beside the next, entered into the catalogue."""

import json
import re
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from tests.larpix_events import SECOND, block, blocks, message

from forebay.errors import ConfigError, StoreError
from forebay.service.larpix_record import drain
from forebay.store import larpix_manifest as lm
from forebay.store.check import check_file
from forebay.store.larpix_file import LarpixFile
from forebay.store.larpix_read import PacketFile
from forebay.store.larpix_series import LarpixSeries, SeriesOptions

pytestmark = pytest.mark.flow

BOARDS = {"board1": lm.Board(1)}


def recording(**more):
    return lm.LarpixRecording(boards=BOARDS, run=42, data_stream="test", **more)


def series_by_size(directory, events, form="packets", **more):
    size = 3 * len(events[0].arrays.data)
    series = LarpixSeries(directory, recording(form=form), SeriesOptions(max_bytes=size, **more))
    for event in events:
        series.write([event])
    series.conclude("end of run")
    series.close()
    series.close()
    return series


@pytest.mark.parametrize("form", ["packets", "raw"])
def test_by_size(tmp_path, form):
    events = blocks(10)
    series = series_by_size(tmp_path, events, form)
    assert len(series.paths) == 4
    manifests = series.manifests
    assert [one.subrun for one in manifests] == [1, 2, 3, 4]
    assert [one.sources["board1"].got for one in manifests] == [3, 3, 3, 1]
    assert [one.reason for one in manifests] == ["followed by the next file"] * 3 + ["end of run"]
    assert series.counters["words_written"] == sum(len(event.arrays.batch.words) for event in events)
    for path, manifest in zip(series.paths, manifests, strict=True):
        assert re.fullmatch(rf"{form}-0000042-000\d-\d{{4}}(_\d\d){{5}}_UTC\.h5", path.name)
        assert check_file(path).is_good
        entry = json.loads(path.with_name(f"{path.name}.json").read_text())
        data = path.read_bytes()
        assert (entry["name"], entry["size"]) == (path.name, len(data))
        assert entry["checksums"]["adler32"] == f"{zlib.adler32(data):08x}"
        metadata = entry["metadata"]
        assert metadata["core.data_tier"] == {"packets": "decoded-raw", "raw": "raw"}[form]
        assert metadata["core.runs_subruns"] == [420_000 + manifest.subrun]
        assert metadata["core.end_time"] >= metadata["core.start_time"] > 1.7e9
    assert len(list(tmp_path.iterdir())) == 8


def test_by_time(tmp_path):
    now = [0.0]
    series = LarpixSeries(
        tmp_path,
        recording(subrun=5),
        SeriesOptions(max_seconds=10, namespace=None, name=lambda one, _: f"{one.subrun}.h5"),
        clock=lambda: now[0],
    )
    for event in blocks(4):
        series.write([event])
        now[0] += 6
    series.close()
    assert [path.name for path in series.paths] == ["5.h5", "6.h5"]
    assert [one.rows for one in series.manifests] == [2 * 79, 2 * 79]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5.h5", "6.h5"]


def test_a_file_that_cannot_be_closed_is_told(tmp_path, monkeypatch):
    events = blocks(10)

    def refuse(self):
        raise StoreError("The disk is gone.")

    monkeypatch.setattr(LarpixFile, "close", refuse)
    with pytest.raises(StoreError, match="disk is gone"):
        series_by_size(tmp_path, events)


def test_limits_below_nothing(tmp_path):
    with pytest.raises(ConfigError):
        LarpixSeries(tmp_path, recording(), SeriesOptions(max_seconds=-1))


class Replayed:
    """Blocks that come at the end of a run."""

    def __init__(self, events):
        self._events = list(events)
        self.last_seconds = {event.source: SECOND for event in events}

    def read(self, timeout):
        if not self._events:
            return ()
        event = self._events.pop(0)
        self.last_seconds[event.source] = int(event.arrays.batch.seconds[-1])
        return [event]


def test_the_end_of_a_run_is_a_second(tmp_path):
    """What was sent in the last second is of the run, wherever it is queued; what follows is not."""
    random = np.random.default_rng(1)
    of_run = [message(random, 4, SECOND) for _ in range(3)]
    behind = [message(random, 5, SECOND + 1) for _ in range(2)]
    events = [block(of_run[:2]), block([of_run[2], b"torn", *behind], 1), block(behind, 2)]
    file = LarpixFile(tmp_path / "a.h5", recording())
    drained = drain(Replayed(events), [file], SECOND, patience=20.0)
    file.close()
    assert (drained.n_behind, drained.late) == (10, ())
    assert file.manifest.boards["board1"].counters["malformed"] == 1
    with PacketFile(tmp_path / "a.h5") as read:
        assert np.count_nonzero(read.rows()["packet_type"] < 4) == 12


def test_a_board_whose_clock_is_ahead_loses_nothing(tmp_path):
    events = [block([message(np.random.default_rng(1), 4, SECOND)])]
    file = LarpixFile(tmp_path / "a.h5", recording())
    assert drain(Replayed(events), [file], SECOND - 100, patience=20.0).n_behind == 0
    file.close()
    assert file.counters["words_written"] == 4


def test_a_disk_that_is_slow_ends_no_run_early(monkeypatch):
    """Whatever writing takes: a board is silent when nothing comes of it, not when nobody looks."""
    now = [0.0]
    written = []

    def monotonic():
        now[0] += 0.01
        return now[0]

    monkeypatch.setattr("forebay.service.larpix_record.time", SimpleNamespace(monotonic=monotonic))

    class SlowSink:
        def write(self, events):
            written.extend(events)
            now[0] += 1.0

        def close(self):
            pass

    events = [block([message(np.random.default_rng(1), 4, SECOND)], i) for i in range(4)]
    drain(Replayed(events), [SlowSink()], SECOND, patience=20.0)
    assert written == events
