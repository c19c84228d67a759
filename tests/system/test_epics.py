"""Process variables of a real IOC, over both protocols, through the service into the buffer and out."""

import subprocess
import sys

import numpy as np
import pytest
from tests.system.epics_stand import Bench, connected, pv, values

from forebay.pulse import PulseRange
from forebay.ring.pv_reader import PvReader, retrieve_pvs

pytest.importorskip("softioc", reason="softioc cannot be installed here")
pytest.importorskip("aioca", reason="aioca cannot be installed here")
pytest.importorskip("p4p", reason="p4p cannot be installed here")
pytestmark = pytest.mark.system


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def says(name, *wanted):
    """Return whether the values of a PV are these, with none between."""
    return lambda points: name in points and values(points[name]) == list(wanted)


@pytest.mark.parametrize("protocol", ["", "pva://"])
def test_every_type_arrives_with_alarm_and_time(bench, protocol):
    ioc = bench.ioc()
    names = {short: pv(short, protocol) for short in "AIESLWH"}
    bench.serve([*names.values()], long_strings=[] if protocol else [names["L"]])
    bench.wait("all are connected", connected, [*names.values()])
    ioc.tell(set={"A": 200.0, "I": -3, "E": 2, "S": "Grüße", "L": "x" * 300, "W": [4.0], "H": [5, 6, 7]})
    ioc.tell(set={"A": -200.0, "W": list(range(64))})
    bench.wait("the last value", lambda points: len(values(points[names["W"]])) == 3, [*names.values()])
    bench.wait("the alarm", lambda points: len(values(points[names["A"]])) == 3, [*names.values()])
    counters = bench.stop()
    points = bench.points([*names.values()])

    a, w = points[names["A"]], points[names["W"]]
    assert values(a) == [1.5, 200.0, -200.0]
    assert a.status.tolist() == ["unknown", "NO_ALARM", "HIHI", "LOW", "unknown"]
    assert a.severity.tolist() == [3, 0, 2, 1, 3]
    assert a.connected.tolist() == [False, True, True, True, False]
    assert (np.diff(a.timestamp_ns[1:4]) > 0).all()
    assert (a.received_ns[2:4] >= a.timestamp_ns[2:4]).all()
    assert (a.timestamp_ns[1:4] % 1000 != 0).any()  # ns, not us
    assert values(points[names["I"]]) == [7, -3]
    assert values(points[names["E"]]) == [1, 2]
    assert values(points[names["S"]]) == ["hello", "Grüße"]
    assert values(points[names["L"]]) == ["long " * 20, "x" * 300]
    assert w.types == ("<f8[3]", "<f8[1]", "<f8[64]")
    assert w.shape[w.connected, 0].tolist() == [3, 1, 64]
    assert w.data[3].tolist() == list(range(64))
    assert points[names["H"]].data.dtype == np.int16
    assert values(points[names["H"]]) == [[1, -2, 0], [5, 6, 7]]
    assert points[names["E"]].data.dtype == np.uint16
    assert counters["received"] == counters["written"] == counters["source_received"] + len(names)


@pytest.mark.parametrize("protocol", ["", "pva://"])
def test_an_ioc_that_is_killed_and_comes_back_changed(bench, protocol):
    first = bench.ioc()
    a, x, static, never = (pv(one, protocol) for one in ("A", "X", "STATIC", "NEVER"))
    bench.serve([a, x, static, never])
    names = [a, x, static, never]
    bench.wait("connected", lambda points: connected({k: points[k] for k in (a, x, static)}), names)
    first.tell(set={"A": 2.5})
    bench.wait("the value", says(a, 1.5, 2.5), names)
    first.kill()
    bench.wait("the loss", lambda points: not points[static].connected[-1], names)
    second = bench.ioc(0, "other")
    bench.wait(
        "it is back",
        lambda points: (
            connected({k: v for k, v in points.items() if k != never})
            and all(points[k].connected[-1] for k in (a, x, static))
        ),
        names,
    )
    second.tell(set={"A": 3.5})
    bench.wait("values again", says(a, 1.5, 2.5, 1.5, 3.5), names)
    bench.stop()
    points = bench.points(names)
    assert points[a].connected.tolist() == [False, True, True, False, True, True, False]
    assert points[static].connected.tolist() == [False, True, False, True, False]
    assert values(points[static]) == [42.0, 42.0]
    assert points[x].types == ("<i4", "<f8[2]")
    assert values(points[x]) == [[5.0, 0.0], [1.0, 2.0]]
    assert points[never].data is None
    assert not points[never].connected.any()


@pytest.mark.parametrize("protocol", ["", "pva://"])
def test_a_thousand_channels(bench, protocol):
    ioc = bench.ioc(1000)
    names = [pv(f"N{i}", protocol) for i in range(1000)]
    bench.serve(names)
    bench.wait("all are connected", connected, names)
    ioc.tell(ramp=5)
    bench.wait("all values", lambda points: all(one.connected.sum() == 6 for one in points.values()), names)
    counters = bench.stop()
    points = bench.points(names)
    for i, name in enumerate(names):
        assert values(points[name]) == [i + 10_000.0 * step for step in range(6)]
    assert counters["source_not_taken"] == counters["not_written"] == counters["refused"] == 0
    assert counters["source_values"] == 6000


def test_pulse_ids_of_values(bench):
    ioc = bench.ioc()
    names = [pv("A"), pv("PULSE"), pv("STATIC"), pv("A", "pva://")]
    bench.serve([pv("A"), pv("STATIC"), pv("A", "pva://")], pulse_id_pv=pv("PULSE"))
    bench.wait("all are connected", connected, names)
    ioc.tell(beat=[1000, 200, 0.02])
    bench.wait("the last beat", lambda points: values(points[pv("A")])[-1:] == [1199.0], names)
    bench.stop()
    points = retrieve_pvs(PvReader(bench.directory), PulseRange(1050, 1149), [*names, "NOT:BUFFERED"])
    assert list(points) == names
    for name in (pv("A"), pv("A", "pva://")):
        one = points[name]
        inside = (one.pulse_id >= 1050) & (one.pulse_id <= 1149) & one.pulse_id_known
        assert one.data[inside].tolist() == list(range(1050, 1150))
        assert one.pulse_id[inside].tolist() == list(range(1050, 1150))
        assert len(one) <= 150  # and little more than the ends, as far as pulses and values come apart
    assert values(points[pv("STATIC")]) == [42.0]
    assert points[pv("STATIC")].pulse_id_known.tolist()[0] is False


def test_supervised_and_killed(bench):
    ioc = bench.ioc()
    bench.serve([pv("A")])
    bench.wait("connected", connected, [pv("A")])
    ioc.tell(set={"A": 9.0})
    bench.wait("the value", says(pv("A"), 1.5, 9.0), [pv("A")])
    bench.service.kill()
    bench.service.wait()
    with bench.log.open("a") as log:
        command = [sys.executable, "-m", "forebay", "run", str(bench.path)]
        environment = bench.environment | {
            "FOREBAY_RUNTIME_DIR": str(bench.directory.parent / "run"),
            "FOREBAY_STATE_DIR": str(bench.directory.parent / "state"),
        }
        bench.service = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    bench.wait("after the kill", says(pv("A"), 1.5, 9.0, 9.0), [pv("A")])
    bench.stop()
    assert bench.points([pv("A")])[pv("A")].connected.tolist() == [False, True, True, False, True, False]


def test_mistakes_are_named(bench):
    bench.serve(["A", "A"])
    assert bench.service.wait(30) == 1
    assert "pvs names A more than once" in bench.log.read_text()
    bench.serve([])
    assert bench.service.wait(30) == 1
    assert "has no PVs" in bench.log.read_text()
