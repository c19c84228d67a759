"""Frames of SSDAQ 0.9: read, written, refused; and its messages with attributes."""

import logging
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from forebay.errors import WireError
from forebay.front.ssdaq.frame import Frame
from forebay.front.ssdaq.readout import SSReadoutB
from forebay.front.ssdaq.records import LogData, MonitorData, TelData, TriggerMessage, log_record
from forebay.front.ssdaq.triggers import TriggerPacket
from forebay.wire import frame, trigger

pytestmark = pytest.mark.unit

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq"
EXAMPLE = (VECTORS / "sof/frame_example.bin").read_bytes()
LOG = (VECTORS / "zmq/B_log_LogData_0.bin").read_bytes()
ARRAYS = some.arrays(
    st.one_of(
        some.integer_dtypes(), some.floating_dtypes(), some.byte_string_dtypes(), some.boolean_dtypes()
    ),
    some.array_shapes(min_dims=0, max_dims=3, min_side=0),
)


def test_the_originals_frame_is_read_and_written_byte_for_byte():
    found = Frame.deserialize(EXAMPLE)
    assert list(found.keys()) == ["ro", "log"]
    readout = found["ro"]
    assert isinstance(readout, SSReadoutB)
    assert (readout.iro, readout.time, readout.cpu_t_s, readout.cpu_t_ns) == (6, 5, 7, 8)
    assert readout.data.ravel().tolist() == list(range(2048))
    assert found["log"].sender == "ssdaq.TelDataReceiver"
    assert found.serialize() == EXAMPLE
    taken = Frame()
    taken.deserialize_m(EXAMPLE)
    assert taken.pack() == EXAMPLE
    again = Frame()
    again["ro"], again["log"] = readout, found["log"]
    assert again.pack() == EXAMPLE


@settings(deadline=None)
@given(st.dictionaries(st.text("abc_/", min_size=1), ARRAYS, max_size=4))
def test_arrays_come_back(arrays):
    sent = Frame()
    for key, array in arrays.items():
        sent.add(key, array)
    found = Frame.unpack(sent.pack())
    assert len(found) == len(arrays)
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype
        assert found[key].shape == array.shape
        np.testing.assert_array_equal(found[key], array)


def test_every_kind_comes_back():
    pattern = trigger.decode((VECTORS / "trigger/trigger_v3.bin").read_bytes())
    values = {
        "trigger": pattern,
        "stamp": TriggerMessage(event_counter=7),
        "monitor": MonitorData(time={"sec": 1}),
        "tel": TelData(time={"sec": 1, "nsec": 2}, ra=0.5),
        "raw": b"\0\1",
    }
    sent = Frame()
    for key, value in values.items():
        sent[key] = value
    found = dict(Frame.unpack(sent.serialize()).items())
    assert trigger.encode(found.pop("trigger")) == trigger.encode(pattern)
    assert found == {key: value for key, value in values.items() if key != "trigger"}
    assert found["tel"].time.nsec == 2


@pytest.mark.parametrize("value", [np.array([{}], object), (1, 2), {"a": 1}, "text", 7, None])
def test_what_would_be_pickled_is_refused(value):
    with pytest.raises(WireError, match="pickled"):
        Frame()["x"] = value


def test_an_array_that_was_pickled_is_not_read():
    data = (
        b"\x93NUMPY\1\0v\0" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n."
    )
    one = Frame.unpack(frame.encode([frame.Part("x", "ndarray", "numpy", data)]))
    with pytest.raises(WireError, match="array"):
        one["x"]


def test_classes_that_are_not_known_stay_bytes():
    parts = [frame.Part("a", "system", "os", b"echo"), frame.Part("b", "PyArrowSerializer", "x", b"\1")]
    found = Frame.unpack(frame.encode(parts))
    assert dict(found.items()) == {"a": b"echo", "b": b"\1"}
    assert found.get("c") is None
    assert "a" in found
    assert list(found) == ["a", "b"]
    with pytest.raises(KeyError):
        found["c"]


@pytest.mark.parametrize("key", ["a,b", "a\nb"])
def test_names_that_would_break_the_trailer_are_refused(key):
    one = Frame()
    one[key] = b""
    with pytest.raises(WireError, match="cannot name"):
        one.pack()


@settings(deadline=None)
@given(st.binary(max_size=60) | st.integers(0, len(EXAMPLE)).map(lambda n: EXAMPLE[n:]))
def test_hostile_bytes_are_refused_or_read(data):
    with suppress(WireError):
        frame.check_frame(data)


@given(st.integers(len(EXAMPLE) - 120, len(EXAMPLE) - 1), st.integers(1, 255))
def test_a_damaged_trailer_is_refused_or_read(at, flip):
    data = bytearray(EXAMPLE)
    data[at] ^= flip
    with suppress(WireError):
        dict(Frame.unpack(bytes(data)).items())


def test_messages_have_attributes():
    log = LogData.unpack(LOG)
    assert (log.sender, log["line"], log.position, log.seqid) == ("ssdaq.TelDataReceiver", 54, "", 0)
    assert log.pack() == LOG
    with pytest.raises(AttributeError, match="no field 'colour'"):
        _ = log.colour
    monitor = MonitorData.unpack((VECTORS / "zmq/B_monitor_MonitorData_0.bin").read_bytes())
    assert monitor.reciver.name == "ReadoutAssembler"
    assert monitor.reciver.recv_data is False
    assert list(monitor.reciver.from_tm) == []
    assert monitor.time.sec == 1795217063
    stamp = TriggerMessage(event_counter=1)
    assert (stamp.type, stamp.status, stamp.time.seconds, stamp.pattern) == (1, 5, 0, 0)


def test_log_records_are_pythons():
    record = log_record(LOG)
    assert (record.name, record.levelno, record.lineno) == ("ssdaq.TelDataReceiver", logging.INFO, 54)
    assert record.getMessage() == "Created fake tel data"
    assert record.created == pytest.approx(1795217033.354389)
    assert logging.Formatter("%(name)s %(message)s").format(record).endswith("fake tel data")


@pytest.mark.parametrize("name", ["nominal_v1", "v2", "v3"])
def test_triggers_have_the_names_of_the_original(name):
    data = (VECTORS / f"trigger/trigger_{name}.bin").read_bytes()
    expected = np.load(VECTORS / f"trigger/trigger_{name}_expected.npz")
    found = TriggerPacket.unpack(data)
    assert found.serialize() == data
    assert found.phase == expected["phase"]
    np.testing.assert_array_equal(found.trigg_pattrns, expected["trigg_pattrns"])
    np.testing.assert_array_equal(found.trigg_union, expected["union"])
    assert 1 << found.phase_index == found.phase
    np.testing.assert_array_equal(found.trigg, expected["trigg_pattrns"][found.phase_index])
    plain = trigger.decode(data)
    assert (found.tack_time, found.ro_count, found.pps_count) == (plain.time_ns, plain.count, plain.pps)
    assert (found.clock_count, found.busy, found.mtype) == (plain.clock, plain.is_busy, plain.type)
    assert found.source == (plain.trigger_type if plain.type < 2 else plain.source)
    assert found.readout_length == len(plain.pattern)
