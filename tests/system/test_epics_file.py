"""Process variables of a real IOC, buffered by the service, written to files by the command."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import h5py
import numpy as np
import pytest
from tests.channel_events import channels_of
from tests.system.epics_stand import Bench, connected, pv, values

from forebay.ring.pv_reader import PvReader
from forebay.store.check import check_file

pytest.importorskip("softioc", reason="softioc cannot be installed here")
pytest.importorskip("aioca", reason="aioca cannot be installed here")
pytest.importorskip("p4p", reason="p4p cannot be installed here")
pytestmark = pytest.mark.system


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def write(bench, file, *words):
    """Run the command as people do; return exit code, what it counted and what it complained of."""
    command = [sys.executable, "-m", "forebay", "epics", "write", "slow", str(file), "-c", str(bench.path)]
    done = subprocess.run([*command, *words, "--json"], capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


def iso(time_ns):
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="microseconds")


def test_ranges_of_pulses_and_of_time_while_the_service_runs(bench, tmp_path):
    ioc = bench.ioc()
    a, also_a, never = pv("A"), pv("A", "pva://"), pv("NEVER")
    names = [a, also_a, pv("S"), pv("W"), pv("STATIC"), never]
    bench.serve(names, pulse_id_pv=pv("PULSE"))
    bench.wait("all are connected", lambda found: connected({k: found[k] for k in names[:-1]}), names)
    ioc.tell(set={"S": "before", "W": [9.0, 8.0]})
    ioc.tell(beat=[1000, 100, 0.02])
    ioc.tell(set={"S": "between"})
    ioc.tell(beat=[1100, 100, 0.02])
    ioc.tell(set={"S": "after"})
    bench.wait("all of it", lambda found: values(found[pv("S")])[-1:] == ["after"], names)

    path = tmp_path / "run.PVCHANNELS.h5"
    code, counted, said = write(bench, path, "--pulses", "1050..1149", "--general", "user=p12345")
    assert (code, said) == (0, "")
    assert counted["never_connected"] == [never]
    found = channels_of(path)
    assert set(found) == {a, also_a.replace("/", "%2F"), pv("S"), pv("W"), pv("STATIC"), pv("PULSE")}
    for name in (a, also_a.replace("/", "%2F")):
        ids, data = found[name]["pulse_id"].ravel(), found[name]["data"].ravel()
        inside = (ids >= 1050) & (ids <= 1149)
        assert ids[inside].tolist() == data[inside].tolist() == list(range(1050, 1150))
        # One before and one after, by the times at which they came: before or after their pulses did.
        assert 1000 <= ids[0] <= 1050
        assert 1149 <= ids[-1] < 1200
        assert len(ids) < 200
    assert found[pv("S")]["data"].ravel().tolist() == [b"before", b"between", b"after"]
    assert found[pv("W")]["data"].tolist() == [[9.0, 8.0]]
    assert found[pv("STATIC")]["status"].ravel().tolist() == [b"NO_ALARM"]
    assert (np.diff(found[a]["timestamp"].ravel().astype(np.int64)) > 0).all()
    assert [p for p in check_file(path).problems if p.severity == "problem"] == []
    with h5py.File(path) as file:
        assert file["general/user"][()] == b"p12345"
        assert len(file[never]) == 0

    reader = PvReader(bench.directory)
    pulses = reader.pulse_map_of_time(0, 2**62)
    times = dict(zip(pulses.pulse_id.tolist(), pulses.timestamp_ns.tolist(), strict=True))
    whole = bench.points([a])[a]
    path = tmp_path / "time.h5"
    code, counted, said = write(bench, path, a, "--from", iso(times[1020]), "--to", iso(times[1180]))
    assert (code, said, counted["variables"]) == (0, "", 1)
    data = channels_of(path)[a]["data"].ravel().tolist()
    assert data == [float(p) for p in range(int(data[0]), int(data[-1]) + 1)]
    assert data[0] <= 1021 <= 1179 <= data[-1]
    assert len(data) < len(whole)
    ids = channels_of(path)[a]["pulse_id"].ravel().tolist()
    assert ids == data
    bench.stop()


def test_a_range_that_is_still_to_come_is_waited_for(bench, tmp_path):
    ioc = bench.ioc()
    bench.serve([pv("A")], pulse_id_pv=pv("PULSE"))
    bench.wait("connected", connected, [pv("A"), pv("PULSE")])
    ioc.tell(beat=[500, 10, 0.01])
    command = [sys.executable, "-m", "forebay", "epics", "write", "slow", str(tmp_path / "a.h5")]
    options = ["-c", str(bench.path), "--pulses", "505..520", "--wait", "60"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE) as waiting:
        ioc.tell(beat=[510, 20, 0.05])
        assert waiting.wait(60) == 0, waiting.stderr.read()
    channel = channels_of(tmp_path / "a.h5")[pv("A")]
    ids = channel["pulse_id"].ravel()
    assert ids[(ids >= 505) & (ids <= 520)].tolist() == list(range(505, 521))


def test_what_cannot_be_written_is_said(bench, tmp_path):
    ioc = bench.ioc()
    bench.serve([pv("A")], pulse_id_pv=pv("PULSE"))
    bench.wait("connected", connected, [pv("A"), pv("PULSE")])
    ioc.tell(beat=[500, 10, 0.01])
    bench.wait("the beat", lambda found: values(found[pv("A")])[-1:] == [509.0], [pv("A")])
    path = tmp_path / "a.h5"
    for words, wanted in (
        ((), "--pulses A..B, or --from and --to"),
        (("--pulses", "5..4"), "reversed"),
        (("--pulses", "1..2", "--from", "2026-01-01"), "--pulses A..B, or --from and --to"),
        (("--from", "yesterday", "--to", "2026-01-01"), "not a time"),
        (("--from", "2026-01-02", "--to", "2026-01-01"), "reversed"),
        (("--from", "2020-01-01", "--to", "2026-01-01"), "holds"),
        (("--from", "2026-01-01", "--to", "2999-01-01", "--wait", "0"), "not passed"),
        (("--pulses", "9000..9001", "--wait", "0"), "known near it are"),
        (("--pulses", "501..505", "--general", "x"), "KEY=TEXT"),
    ):
        code, _, said = write(bench, path, *words)
        assert code == 1, words
        assert wanted in said, (words, said)
        assert "Traceback" not in said
        assert not list(tmp_path.glob("a.h5*"))
    code, counted, _ = write(bench, path, pv("A"), "NOT:BUFFERED", "--pulses", "501..505")
    assert (code, counted["not_recorded"]) == (1, ["NOT:BUFFERED"])
    code, _, said = write(bench, path, "--pulses", "501..505")
    assert (code, "never overwritten" in said) == (1, True)
