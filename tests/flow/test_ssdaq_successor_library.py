"""SSDAQ 0.9's Python library: tables, writers for coroutines, subscribers of every stream, telescope."""

import asyncio
import json
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from forebay.errors import ConfigError, StoreError
from forebay.front.ssdaq.async_subscribers import AsyncLogProtoSubscriber, AsyncTelDataSubscriber
from forebay.front.ssdaq.frame import Frame
from forebay.front.ssdaq.publisher import ZMQTCPPublisher
from forebay.front.ssdaq.readout import SSReadoutB
from forebay.front.ssdaq.records import LogData, TriggerMessage
from forebay.front.ssdaq.subscribers import (
    BasicLogSubscriber,
    BasicMonSubscriber,
    BasicTelDataSubscriber,
    BasicTimestampSubscriber,
    LogProtoSubscriber,
)
from forebay.service.async_writers import ASlowSignalWriter, ATimestampWriter, ATriggerWriter
from forebay.service.raw_file import RawWriter
from forebay.service.readout_successor import DataReader, SSDataReaderB, SSDataWriterB, SSFileWriterB
from forebay.service.sof_objects import FrameWriter, LogWriter, TimestampWriter, TriggerWriter
from forebay.service.telescope import ConstantPointing, FilePointing, pointing
from forebay.store.check import check_file
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.readout_reader import ReadoutReader
from forebay.stream.message_publisher import MessagePublisher
from forebay.stream.messages import MessageListener
from forebay.wire import cdts, ssreadout, trigger
from forebay.wire.camera_map import SSL2ASIC_CH, SSL2COLROW

pytestmark = pytest.mark.flow

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq"
MESSAGES = {
    kind: (VECTORS / f"zmq/B_{name}_0.bin").read_bytes()
    for kind, name in {
        "log": "log_LogData",
        "stamp": "timestamp_TriggerMessage",
        "mon": "monitor_MonitorData",
        "tel": "teldata_TelData",
    }.items()
}
TRIGGER = (VECTORS / "trigger/trigger_v3.bin").read_bytes()
N_TRIES = 1000


def until(condition):
    pause = threading.Event()
    for _ in range(N_TRIES):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come about")


def port_of(publisher):
    return int(publisher.endpoint.rpartition(":")[2])


def readout(i):
    data = np.arange(2048.0).reshape(32, 64) + i
    return SSReadoutB(1000 * i, i, 1_700_000_000 + i, i, data)


@pytest.fixture
def path(tmp_path):
    writer = SSDataWriterB(tmp_path / "b.hdf5")
    for i in range(1, 21):
        writer.write(readout(i))
    writer.write_tel_data(0.5, -0.25, 1_700_000_000.5, 1_700_000_000, 5 * 10**8)
    writer.close()
    return tmp_path / "b.hdf5"


def test_where_the_telescope_pointed_is_in_the_file(path):
    reader = ReadoutReader(path)
    (row,) = reader.telescope()
    reader.close()
    said = {name: row[name].item() for name in row.dtype.names}
    assert said == {
        "db_t": 1_700_000_000.5,
        "db_t_ns": 5 * 10**8,
        "db_t_s": 1_700_000_000,
        "dec": -0.25,
        "ra": 0.5,
    }
    assert check_file(path).is_good


def test_all_data_of_a_module(path):
    reader = SSDataReaderB(path)
    found = reader.load_all_data(3)
    assert found._fields == ("iro", "amps", "time", "cpu_t", "tm")
    assert (found.tm, found.iro.tolist()) == (3, list(range(1, 21)))
    assert found.time.tolist() == [1000 * i for i in range(1, 21)]
    np.testing.assert_allclose(found.cpu_t, 1_700_000_000 + np.arange(1, 21))
    raw = np.arange(64.0) + 3 * 64 + np.arange(1, 21)[:, None]
    np.testing.assert_array_equal(found.amps, raw[:, SSL2ASIC_CH.astype(int)])
    calib = np.arange(64) * 0.5
    for mapping, order in {
        "raw": np.arange(64),
        "ssl2colrow": SSL2COLROW.astype(int),
        "ssl2asic_ch": SSL2ASIC_CH.astype(int),
    }.items():
        np.testing.assert_array_equal(
            reader.load_all_data(3, calib=calib, mapping=mapping).amps, (raw * calib)[:, order]
        )
    np.testing.assert_array_equal(reader.load_all_data(3, 2.0, [5, 1]).amps, 2 * raw[:, [5, 1]])
    for wrong in ({"mapping": "colour"}, {"mapping": [64]}, {"mapping": [0.5]}):
        with pytest.raises(ConfigError):
            reader.load_all_data(3, **wrong)
    with pytest.raises(ConfigError, match="no module 32"):
        reader.load_all_data(32)
    reader.close_file()
    with pytest.raises(ConfigError, match="no mapping 'colour'"):
        SSDataReaderB(path, "colour")


def test_one_row_or_many(path):
    reader = SSDataReaderB(path)
    (one,) = reader.read(4)
    assert (reader.iro, reader.ssreadout.iro, reader.ssreadout.cpu_t_s) == (5, 5, 1_700_000_005)
    np.testing.assert_array_equal(reader.ssreadout.data, readout(5).data)
    np.testing.assert_array_equal(one, reader[4])
    np.testing.assert_array_equal(reader[-1], reader[19])
    assert [reader.iro for _ in reader.read(2, 6, 2)] == [3, 5]
    assert len(list(reader)) == len(reader) == 20
    reader.close_file()


def test_a_table_of_pandas(path):
    pandas = pytest.importorskip("pandas")
    reader = SSDataReaderB(path)
    table = reader.load_as_pd_table()
    assert isinstance(table, pandas.DataFrame)
    assert table.index.names == ["iro", "pix"]
    assert list(table.columns) == ["time", "cpu_t", "amp"]
    assert len(table) == 20 * 2048
    for i, data in enumerate(reader.read(), 1):
        np.testing.assert_array_equal(table.loc[i, "amp"].to_numpy(), data.ravel())
    assert table.loc[(7, 100), "time"] == 7000
    reader.close_file()


def test_without_pandas_its_extra_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    reader = SSDataReaderB(path)
    with pytest.raises(ConfigError, match=r"forebay\[pandas\]"):
        reader.load_as_pd_table()
    reader.close_file()


def test_objects_of_a_container_are_read_one_by_one():
    reader = DataReader(VECTORS / "sof/log_v1_bz2.sof")
    n = reader.n_entries
    assert n > 0
    objects = [reader.read() for _ in range(n)]
    assert objects == list(reader.readobjects()) == [reader.read_at(i) for i in range(n)]
    assert objects[0].sender
    with pytest.raises(EOFError):
        reader.read()
    reader.resetfp()
    assert reader.read() == objects[0]
    reader.close()


@pytest.mark.parametrize(
    ("kind", "subscriber", "check"),
    [
        ("log", BasicLogSubscriber, lambda one: one.getMessage() == "Created fake tel data"),
        ("log", LogProtoSubscriber, lambda one: one.message == "Created fake tel data"),
        ("stamp", BasicTimestampSubscriber, lambda one: one.time.seconds == 1700000000),
        ("mon", BasicMonSubscriber, lambda one: one.reciver.name == "ReadoutAssembler"),
        ("tel", BasicTelDataSubscriber, lambda one: one.ra == pytest.approx(0.322)),
    ],
)
def test_every_stream_has_a_subscriber(kind, subscriber, check):
    with closing(MessagePublisher("127.0.0.1", "*")) as publisher:
        one = subscriber("127.0.0.1", port_of(publisher))
        one.start()
        until(publisher.count_subscribers)
        publisher.send([b"\xff", MESSAGES[kind]])
        assert check(one.get_data(timeout=20))
        assert one.n_malformed == 1
        one.close()


def test_coroutines_have_subscribers_of_logs_and_telescope():
    async def listen(publisher):
        where = "127.0.0.1", port_of(publisher)
        subscribers = AsyncLogProtoSubscriber(*where), AsyncTelDataSubscriber(*where, name="tel")
        await asyncio.to_thread(until, lambda: publisher.count_subscribers() == 2)
        assert subscribers[0].empty()
        publisher.send([MESSAGES["log"]])
        log = await subscribers[0].get_data()
        publisher.send([MESSAGES["tel"]])
        found = log, await subscribers[1].get_data()
        for one in subscribers:
            await one.close()
        return found

    with closing(MessagePublisher("127.0.0.1", "*")) as publisher:
        log, tel = asyncio.run(asyncio.wait_for(listen(publisher), 30))
    assert (log.line, tel.time.sec) == (54, 1795217033)


@pytest.mark.parametrize(
    ("writer", "message"), [(ATriggerWriter, TRIGGER), (ATimestampWriter, MESSAGES["stamp"])]
)
def test_writers_for_coroutines(tmp_path, writer, message):
    async def write(publisher):
        one = writer("x", "127.0.0.1", port_of(publisher), folder=tmp_path, file_enumerator="order")
        await asyncio.to_thread(until, publisher.count_subscribers)
        publisher.send([message] * 5)
        await asyncio.to_thread(until, lambda: one.data_counter == 5)
        assert one.running
        await one.close()
        await one.close(hard=True)
        assert not one.running
        return one

    with closing(MessagePublisher("127.0.0.1", "*")) as publisher:
        one = asyncio.run(asyncio.wait_for(write(publisher), 30))
    assert one.paths == [tmp_path / "x001.sof"]
    assert one.counters == {"received": 5, "written": 5, "not_written": 0}
    assert DataReader(one.paths[0]).sof.objects == [message] * 5
    assert check_file(one.paths[0]).problems == []


def test_a_writer_of_readouts_for_coroutines_writes_the_telescope_too(tmp_path):
    async def write(readouts, telescope):
        where = "127.0.0.1", port_of(telescope)
        one = ASlowSignalWriter("s", "127.0.0.1", port_of(readouts), tmp_path, telescope=where)
        await asyncio.to_thread(until, readouts.count_subscribers)
        await asyncio.to_thread(until, telescope.count_subscribers)
        telescope.send([pointing(10**9, 1.0, 2.0), b"\xff"])
        readouts.send([readout(i).pack() for i in range(1, 4)])
        await asyncio.to_thread(until, lambda: one.data_counter == 3)
        telescope.send([pointing(3 * 10**9 + 1, 3.0, 4.0)])
        await asyncio.to_thread(until, lambda: one.counters["pointings"] == 2)
        await one.close()
        return one

    with (
        closing(MessagePublisher("127.0.0.1", "*")) as readouts,
        closing(MessagePublisher("127.0.0.1", "*")) as telescope,
    ):
        one = asyncio.run(asyncio.wait_for(write(readouts, telescope), 30))
    assert one.counters["pointings_malformed"] == 1
    reader = ReadoutReader(tmp_path / "s.hdf5")
    assert reader.read()["number"].tolist() == [1, 2, 3]
    assert reader.telescope()[["db_t_s", "db_t_ns", "ra", "dec"]].tolist() == [(1, 0, 1, 2), (3, 1, 3, 4)]
    reader.close()
    assert check_file(tmp_path / "s.hdf5").is_good


def test_files_of_the_predecessor_have_no_telescope(tmp_path):
    with pytest.raises(ConfigError, match="generation A"):
        SSFileWriterB(
            "s",
            "127.0.0.1",
            1,
            tmp_path,
            recording=ReadoutRecording(generation="A"),
            telescope=("127.0.0.1", 2),
        )


def test_a_constant_direction():
    waited = []
    one = ConstantPointing(0.322, -0.24, 1000.0, sleep=waited.append)
    (message,) = one.read(5.0)
    found = cdts.decode(cdts.TELESCOPE, message)
    assert (found["ra"], found["dec"]) == pytest.approx((0.322, -0.24))
    assert found["time"]["sec"] > 1_700_000_000
    assert one.read(5.0) == []
    assert waited == [5.0]
    assert one.counters == {"received": 1, "messages": 1, "malformed": 0}


def test_directions_of_a_file(tmp_path):
    path = tmp_path / "tel.jsonl"
    one = FilePointing(path, 0.0)

    def read():
        return [(m["time"]["sec"], m["ra"], m["dec"]) for m in map(unpack, one.read(0.0))]

    def unpack(message):
        return cdts.decode(cdts.TELESCOPE, message)

    def append(text):
        with path.open("a", encoding="utf-8") as file:
            file.write(text)

    def line(i):
        return json.dumps({"time": 100 + i, "ra": i, "dec": -i}) + "\n"

    assert read() == []
    append(line(1) + line(2))
    assert read() == [(102, 2, -2)]  # what was there before is the past
    assert read() == []
    append(line(3) + line(4)[:7])
    assert read() == [(103, 3, -3)]
    append(
        line(4)[7:]
        + "nonsense\n"
        + '{"ra": "NaN", "dec": 1}\n[]\n{"ra": 1}\n\n{"ra": 1e99, "dec": 1}\n'
        + line(5)
    )
    assert read() == [(104, 4, -4), (105, 5, -5)]
    assert one.counters == {"received": 9, "messages": 4, "malformed": 5}
    path.write_text(line(6), encoding="utf-8")
    assert read() == [(106, 6, -6)]
    path.unlink()
    assert read() == []
    append('{"ra": 1, "dec": 2}\n')
    ((seconds, *direction),) = read()
    assert direction == [1, 2]
    assert seconds > 1_700_000_000


@pytest.mark.parametrize(
    ("writer", "objects"),
    [
        (LogWriter, [LogData.unpack(MESSAGES["log"]), MESSAGES["log"]]),
        (TimestampWriter, [TriggerMessage(event_counter=i) for i in range(3)]),
        (TriggerWriter, [trigger.decode(TRIGGER), TRIGGER]),
        (FrameWriter, [Frame()]),
    ],
)
@pytest.mark.parametrize("compressor", ["bz2", None])
def test_objects_are_written_one_by_one(tmp_path, writer, objects, compressor):
    file = writer(tmp_path / "x.sof", compressor=compressor)
    for one in objects:
        file.write(one)
    assert file.data_counter == len(objects)
    with pytest.raises(ConfigError, match="Write its bytes"):
        file.write(7)
    file.close()
    file.close()
    found = DataReader(tmp_path / "x.sof")
    expected = [one if isinstance(one, bytes) else None for one in objects]
    for one, wanted in zip(found.sof.objects, expected, strict=True):
        assert wanted is None or one == wanted
    assert check_file(tmp_path / "x.sof").problems == []
    with pytest.raises(ConfigError, match="no compressor"):
        writer(tmp_path / "y.sof", compressor="lzo")


def test_a_publisher_of_messages_takes_readouts_too():
    publisher = ZMQTCPPublisher("127.0.0.1", "*")
    with closing(publisher), closing(MessageListener("127.0.0.1", port_of(publisher))) as listener:
        until(publisher.count_subscribers)
        publisher.set_loop(None)
        publisher.publish(b"a")
        asyncio.run(publisher.apublish(b"b"))
        publisher.append(readout(3).record())
        found = []
        until(lambda: found.extend(listener.read(0.05)) or len(found) == 3)
    assert found == [b"a", b"b", readout(3).pack()]


def test_raw_messages_are_appended(tmp_path):
    path = tmp_path / "dump.dat"
    for _ in range(2):
        with closing(RawWriter(path)) as one:
            one.send([b"a", b"bc"])
            assert one.counters == {"offered": 2, "sent": 2}
    assert path.read_bytes() == b"abcabc"
    one = RawWriter(path)
    one.append(np.concatenate([readout(i).record() for i in (1, 2)]))
    one.close()
    one.close()
    data = path.read_bytes()[6:]
    assert data == readout(1).pack() + readout(2).pack()
    assert len(data) == 2 * ssreadout.MESSAGE_B.itemsize
    with pytest.raises(StoreError, match="Cannot open"):
        RawWriter(tmp_path)
