"""Bytes of SSDAQ and of the camera: our codecs against those that the original made."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from forebay.assemble.timed import TimedBuilder, TimedRules
from forebay.wire import cdts, pcap, sof, ssreadout, target, trigger
from forebay.wire.senders import ModuleRule, packed

pytestmark = pytest.mark.compat

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq"
T0 = 1_700_000_000_000_000_000


def messages():
    data = gzip.decompress((VECTORS / "zmq/golden_A_zmq.bin.gz").read_bytes())
    found = []
    while data:
        (n,) = struct.unpack_from("<I", data)
        found.append(data[4 : 4 + n])
        data = data[4 + n :]
    return found


@pytest.mark.parametrize("module", [0, 31])
def test_blocks_of_the_pattern(module):
    data = (VECTORS / f"udp/pattern_mod{module:02}_cycle0.bin").read_bytes()
    blocks = target.decode(data)
    r = np.arange(10)
    expected = (64 * module + np.arange(64) + 3 * r[:, None]) & 0xFFFF
    assert (target.counts(blocks) == expected).all()
    assert (blocks["time_ns"] == T0 + r * 30_000_000).all()
    assert (blocks["aux_time_ns"] == blocks["time_ns"] + 1000 * (module + 1)).all()
    again = target.encode(blocks["time_ns"], blocks["aux_time_ns"], expected.astype(np.uint16))
    assert again.tobytes() == data


def test_millivolts_are_those_of_the_original_to_the_last_bit():
    message = np.frombuffer((VECTORS / "zmq/A_golden_ssreadout_full.bin").read_bytes(), ssreadout.MESSAGE_A)
    raw = np.rint(message["data"][0] / 0.0763).astype(np.uint16)
    blocks = target.encode(np.zeros(32, np.uint64), np.zeros(32, np.uint64), raw)
    assert target.millivolts(blocks).tobytes() == message["data"][0].tobytes()


@pytest.mark.parametrize("name", ["A_golden_ssreadout_full", "A_golden_ssreadout_missing31"])
def test_messages_of_generation_a_byte_for_byte(name):
    data = (VECTORS / f"zmq/{name}.bin").read_bytes()
    assert bytes(ssreadout.encode(ssreadout.decode([data]))[0]) == data


def test_messages_of_generation_b_byte_for_byte():
    data = (VECTORS / "zmq/B_golden_ssreadout_full.bin").read_bytes()
    assert bytes(ssreadout.encode(ssreadout.decode([data]), "B")[0]) == data


def test_every_message_of_the_golden_run():
    golden = messages()
    assert len(golden) > 60
    assert [bytes(one) for one in ssreadout.encode(ssreadout.decode(golden))] == golden


@pytest.mark.parametrize("name", ["trigger_nominal_v1", "trigger_v2", "trigger_v3"])
def test_trigger_patterns(name):
    data = (VECTORS / f"trigger/{name}.bin").read_bytes()
    expected = np.load(VECTORS / f"trigger/{name}_expected.npz")
    found = trigger.decode(data)
    assert (found.union == expected["union"]).all()
    assert (found.pattern == expected["trigg_pattrns"]).all()
    assert found.phase == expected["phase"]
    assert trigger.encode(found) == data


def test_the_golden_run_is_assembled_to_the_golden_messages():
    """The original throws the first block away and loses the blocks of readout 0; the rest is the same."""
    builder = TimedBuilder(TimedRules(window_ns=10_000_000, buffer_ns=4_000_000_000))
    rule = ModuleRule()
    found = []
    for one in pcap.read([(VECTORS / "udp/golden_A.pcap").read_bytes()]):
        sender = np.frombuffer(packed(one.source[0]), np.uint8).reshape(1, 16)
        blocks = target.decode(one.payload)
        modules = np.repeat(rule.modules(sender), len(blocks))
        found += list(builder.add(modules, blocks, one.time_ns, one.time_ns))
    found += list(builder.drain())
    assert builder.counters["used"] == builder.counters["blocks"] == 2 + 4 * 320 + 310 + 60
    ours = np.array(found)
    assert ours["number"].tolist() == list(range(1, len(ours) + 1))
    golden = ssreadout.decode(messages())
    by_time = {int(one["time_ns"]): one for one in ours}
    assert list(by_time) == sorted(by_time)
    n_same = 0
    for one in golden:
        mine = by_time[int(one["time_ns"])].copy()
        mine["number"], mine["arrived_ns"] = one["number"], 0
        if one["time_ns"] == T0:
            assert ssreadout.present(one[None]).sum() == 1  # the original's fault
            assert ssreadout.present(mine[None]).sum() == 32
        else:
            assert mine.tobytes() == one.tobytes()
            n_same += 1
    assert n_same == len(golden) - 1


@pytest.mark.parametrize(
    ("name", "kind", "n"), [("log_v1_bz2", 1, 4), ("timestamp_v1_bz2", 2, 3), ("trigger_v1_nocomp", 3, 3)]
)
def test_sof_files_are_read_and_written_alike(name, kind, n):
    data = (VECTORS / f"sof/{name}.sof").read_bytes()
    found = sof.decode(data)
    assert (found.kind, len(found.objects), found.n_damaged, found.is_whole) == (kind, n, 0, True)
    if kind == 3:
        assert [trigger.decode(one).type for one in found.objects] == [0, 1, 2]
    compressor = sof.Compressor(found.compressor)
    header = sof.encode_header(kind, compressor, found.created_s, found.software)
    assert data.startswith(header)
    again = header + sof.encode_bunch(found.objects, compressor, len(header), 0, 0)
    assert again == data


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("B_log_LogData_0", cdts.LOG),
        ("B_monitor_MonitorData_0", cdts.MONITOR),
        ("B_teldata_TelData_0", cdts.TELESCOPE),
        ("B_timestamp_TriggerMessage_0", cdts.TRIGGER_MESSAGE),
        ("B_timestamp_TriggerMessage_1", cdts.TRIGGER_MESSAGE),
    ],
)
def test_messages_of_the_other_streams(name, schema):
    data = (VECTORS / f"zmq/{name}.bin").read_bytes()
    message = cdts.decode(schema, data)
    assert len(message) > 1
    assert cdts.encode(schema, message) == data


def test_a_bunch_of_triggers_is_published_one_by_one():
    bunch = (VECTORS / "trigger/timestamp_bunch_in.bin").read_bytes()
    found = cdts.parts(bunch, 3)
    assert found[:2] == [(VECTORS / f"zmq/B_timestamp_TriggerMessage_{i}.bin").read_bytes() for i in range(2)]
    assert [cdts.decode(cdts.TRIGGER_MESSAGE, one)["event_counter"] for one in found] == [100, 101, 102]
