"""Process variables through the disk rings and back: what a span holds, repeats, restarts."""

import numpy as np
import pytest

from forebay.errors import RangeError
from forebay.pulse import PulseRange
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.pv_reader import PvReader, retrieve_pvs
from forebay.ring.pvs import REPEAT_S, PvRing
from forebay.wire.epics import Update, disconnected

pytestmark = pytest.mark.flow

S = 1_000_000_000
T0 = 1_795_000_000 * S
LIMITS = DiskLimits(64 * 2**20)


def point(name, second, value, stamped=None, status="NO_ALARM", severity=0):
    received = T0 + int(second * S)
    stamp = received if stamped is None else T0 + int(stamped * S)
    return Update(name, received, stamp, True, status, severity, np.asarray(value))


def gone(name, second):
    return disconnected(name, T0 + int(second * S))


def written(path, updates, pulse_id_pv=None):
    """Write updates one by one at the time they came; return the reader."""
    ring = PvRing(path, LIMITS, pulse_id_pv)
    for update in sorted(updates, key=lambda one: one.received_ns):
        ring.write([update], update.received_ns)
    ring.close(max(update.received_ns for update in updates) + S)
    return PvReader(path)


def seconds(points):
    return ((points.received_ns - T0) / S).tolist()


def span(first, last):
    return T0 + int(first * S), T0 + int(last * S)


def test_one_point_before_all_inside_one_after(tmp_path):
    reader = written(tmp_path / "pvs", [point("A", i, i * 1.5) for i in range(10)])
    points = retrieve_pvs(reader, span(2.5, 5.5), ["A", "B"])
    assert list(points) == ["A"]
    assert seconds(points["A"]) == [2, 3, 4, 5, 6]
    assert points["A"].data.tolist() == [3.0, 4.5, 6.0, 7.5, 9.0]
    assert points["A"].connected.all()
    assert points["A"].types == ("<f8",)
    assert seconds(retrieve_pvs(reader, span(2, 5), ["A"])["A"]) == [2, 3, 4, 5]


def test_a_static_value_is_found_long_after_and_once(tmp_path):
    path = tmp_path / "pvs"
    ring = PvRing(path, LIMITS)
    ring.write([gone("STATIC", 0), gone("FAST", 0)], T0)
    ring.write([point("STATIC", 1, 42, stamped=-86400)], T0 + S)
    for second in range(2, 10 * REPEAT_S, 10):
        ring.write([point("FAST", second, second)], T0 + second * S)
    assert 5 <= ring.counters.repeated <= 10
    points = retrieve_pvs(PvReader(path), span(500, 510), ["STATIC", "FAST"])
    assert points["STATIC"].data.tolist() == [42]
    assert seconds(points["STATIC"]) == [1]
    assert points["STATIC"].timestamp_ns.tolist() == [T0 - 86400 * S]
    assert seconds(points["FAST"]) == [492, 502, 512]
    ring.close(T0 + 600 * S)
    counters = ring.counters
    assert counters.received == counters.written + counters.refused + counters.not_written


def test_a_value_survives_the_segment_it_came_in(tmp_path):
    path = tmp_path / "pvs"
    ring = PvRing(path, DiskLimits(2**20, segment_bytes=2**17))
    ring.write([point("STATIC", 0, 42)], T0)
    for second in range(1, 400):
        ring.write([point("FAST", second, np.full(1000, second))], T0 + second * S)
    reader = PvReader(path)
    assert reader.values.time_span[0] > T0
    assert retrieve_pvs(reader, span(380, 390), ["STATIC"])["STATIC"].data.tolist() == [42]
    ring.close(T0 + 500 * S)


def test_a_disconnection_is_a_point_and_an_old_stamp_after_it_is_the_newer_state(tmp_path):
    reader = written(
        tmp_path / "pvs", [point("A", 1, 5, stamped=-100), gone("A", 3), point("A", 6, 5, stamped=-100)]
    )
    points = retrieve_pvs(reader, span(2, 4), ["A"])["A"]
    assert points.connected.tolist() == [True, False, True]
    assert points.status.tolist() == ["NO_ALARM", "unknown", "NO_ALARM"]
    assert points.severity.tolist() == [0, 3, 0]
    assert points.data.tolist() == [5, 0, 5]
    assert retrieve_pvs(reader, span(6.5, 6.6), ["A"])["A"].connected.tolist() == [True, False]


def test_a_channel_that_never_answered_has_no_data(tmp_path):
    points = retrieve_pvs(written(tmp_path / "pvs", [gone("A", 0)]), span(1, 2), ["A"])["A"]
    assert points.data is None
    assert points.types == ()
    assert not points.connected.any()


def test_what_came_late_but_was_stamped_inside_is_inside(tmp_path):
    late = [point("A", i + 2.2, i, stamped=i) for i in range(12)]
    points = retrieve_pvs(written(tmp_path / "pvs", late), span(4, 7), ["A"])["A"]
    stamps = ((points.timestamp_ns - T0) / S).tolist()
    assert stamps == [1, 2, 3, 4, 5, 6, 7, 8]


def test_values_that_come_before_their_pulses_are_inside(tmp_path):
    """The pulses of a slow server, 25 ms behind: at the start of a range, too, no value of it is left out."""
    beats = [point("PULSE", i / 100 + 0.025, float(1000 + i), stamped=i / 100) for i in range(100)]
    values = [point("A", i / 100 + 0.001, i, stamped=i / 100 + 0.001) for i in range(100)]
    reader = written(tmp_path / "pvs", sorted(beats + values, key=lambda one: one.received_ns), "PULSE")
    points = retrieve_pvs(reader, PulseRange(1050, 1059), ["A"])["A"]
    assert points.pulse_id.tolist() == list(range(1049, 1063))  # and what came until its last pulse did


@pytest.mark.parametrize(
    ("values", "types", "data", "shape"),
    [
        ([[1, 2, 3], [4], []], ("<i8[3]", "<i8[1]", "<f8[0]"), [[1, 2, 3], [4, 0, 0], [0, 0, 0]], [3, 1, 0]),
        (
            [np.int32(1), np.float32(0.5), np.array([1.5, 2])],
            ("<i4", "<f4", "<f8[2]"),
            [[1, 0], [0.5, 0], [1.5, 2]],
            [1, 1, 2],
        ),
    ],
)
def test_arrays_that_change_length_and_type(tmp_path, values, types, data, shape):
    reader = written(tmp_path / "pvs", [point("A", i, value) for i, value in enumerate(values)])
    points = retrieve_pvs(reader, span(0, 10), ["A"], after_s=0)["A"]
    assert points.types == types
    assert points.data[:3].tolist() == data
    assert points.shape[:3, 0].tolist() == shape


def test_text_numbers_and_text_arrays(tmp_path):
    updates = [point("T", 0, "short"), point("T", 1, "longer than before"), point("T", 2, 7)]
    updates += [point("L", 0.5, ["a", "bcd"]), point("L", 1.5, ["Grüße"]), point("E", 0.1, "")]
    reader = written(tmp_path / "pvs", updates)
    points = retrieve_pvs(reader, span(0, 2.5), ["T", "L", "E"])
    assert points["T"].data.tolist()[:3] == ["short", "longer than before", "7"]
    assert points["L"].data.tolist()[:2] == [["a", "bcd"], ["Grüße", ""]]
    assert points["E"].data.tolist()[0] == ""


def test_pulse_ids_of_points(tmp_path):
    beats = [point("PULSE", i / 100, float(1000 + i)) for i in range(300)]
    values = [point("A", i / 10, i) for i in range(30)]
    reader = written(tmp_path / "pvs", beats + values, "PULSE")
    points = retrieve_pvs(reader, PulseRange(1100, 1200), ["A"])["A"]
    assert seconds(points) == [i / 10 for i in range(10, 21)]
    assert points.pulse_id_known.all()
    assert points.pulse_id.tolist() == list(range(1100, 1201, 10))
    assert retrieve_pvs(reader, PulseRange(1100, 1200), ["A"], tie=False)["A"].pulse_id.tolist() == list(
        range(1099, 1200, 10)
    )
    with pytest.raises(RangeError, match=r"1000\.\.1299"):
        retrieve_pvs(reader, PulseRange(1200, 1300), ["A"])
    assert not retrieve_pvs(reader, span(1, 2), ["A"])["A"].pulse_id_known.any()


def test_a_point_older_than_every_pulse_has_no_pulse_id(tmp_path):
    beats = [point("PULSE", i / 100, float(1000 + i)) for i in range(100)]
    reader = written(tmp_path / "pvs", [point("A", 0, 1, stamped=-5), *beats], "PULSE")
    points = retrieve_pvs(reader, PulseRange(1010, 1020), ["A"])["A"]
    assert points.data.tolist() == [1, 0]
    assert points.pulse_id_known.tolist() == [False, True]


def test_pulses_that_are_none_are_counted(tmp_path):
    ring = PvRing(tmp_path / "pvs", LIMITS, "P")
    ring.write([point("P", 0, 0), point("P", 1, 10.5), point("P", 2, 7.0), gone("P", 3)], T0 + 4 * S)
    ring.write([point("P", 5, 8.0), point("P", 6, 3.0), point("P", 7, 4.0)], T0 + 8 * S)
    assert (ring.counters.pulses, ring.counters.no_pulse) == (4, 2)
    ring.close(T0 + 9 * S)
    reader = PvReader(tmp_path / "pvs")
    assert reader.pulse_map(PulseRange(1, 5)).pulse_id.tolist() == [3, 4]
    assert reader.pulse_map_of_time(T0, T0 + 9 * S).pulse_id.tolist() == [7, 8]


def test_values_that_cannot_be_kept_are_counted_and_the_others_kept(tmp_path):
    ring = PvRing(tmp_path / "pvs", DiskLimits(2**20))
    bad = [point("A", 1, np.array([None])), point("A", 2, np.zeros(2**20)), point("A", 3, 5)]
    ring.write(bad, T0 + 4 * S)
    assert (ring.counters.refused, ring.counters.written) == (2, 1)
    ring.close(T0 + 5 * S)
    points = retrieve_pvs(PvReader(tmp_path / "pvs"), span(3.5, 4), ["A"])["A"]
    assert points.data.tolist() == [5, 0]


def test_a_pause_of_the_writer_is_not_filled_in(tmp_path):
    path = tmp_path / "pvs"
    written(path, [point("A", 0, 1)])
    ring = PvRing(path, LIMITS)
    ring.write([gone("A", 5000), point("A", 5001, 2)], T0 + 5001 * S)
    ring.close(T0 + 5002 * S)
    points = retrieve_pvs(PvReader(path), span(3000, 3001), ["A"], after_s=3000)["A"]
    assert seconds(points)[0] == 1.0
    assert points.connected.tolist() == [False, False]
