"""A .sof file: whole or not there, never over another, and readable while it is a part."""

import errno
import os
import random
import threading
from contextlib import closing

import pytest

from forebay.errors import StoreError
from forebay.service.sof_writer import TriggerWriter
from forebay.store.paths import part_of
from forebay.store.recover import recover
from forebay.store.sof_file import SofFile, read_sof
from forebay.stream.message_publisher import MessagePublisher
from forebay.wire.sof import Compressor, Kind

pytestmark = pytest.mark.flow


@pytest.mark.parametrize("compressor", Compressor)
def test_objects_come_back(tmp_path, compressor):
    objects = [bytes([i % 256]) * (i % 300) for i in range(2000)]
    file = SofFile(tmp_path / "a.sof", Kind.LOG, compressor, bunch_bytes=10_000)
    for start in range(0, len(objects), 7):
        file.append(objects[start : start + 7])
    part = read_sof(part_of(file.path))
    assert 0 < len(part.objects) < 2000
    assert part.objects == objects[: len(part.objects)]
    file.close()
    file.close()
    found = read_sof(tmp_path / "a.sof")
    assert (found.objects, found.is_whole, found.kind, file.n) == (objects, True, Kind.LOG, 2000)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.sof", "a.sof.json"]


def test_what_a_killed_writer_left_is_recovered(tmp_path):
    objects = [bytes([i % 256]) * 100 for i in range(1000)]
    file = SofFile(tmp_path / "b.sof", Kind.TRIGGER, bunch_bytes=10_000)
    file.append(objects[:500])
    file.append(objects[500:700])
    with pytest.raises(StoreError, match="still being written"):
        recover(tmp_path / "b.sof.part")
    part = tmp_path / "a.sof.part"
    part.write_bytes((tmp_path / "b.sof.part").read_bytes() + b"torn")
    file.close()
    assert recover(part) == tmp_path / "a.sof"
    found = read_sof(tmp_path / "a.sof")
    assert (found.objects, found.is_whole) == (objects[:700], True)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.sof", "a.sof.json", "b.sof", "b.sof.json"]
    with pytest.raises(StoreError, match="There is no"):
        recover(part)


def test_a_file_is_never_overwritten(tmp_path):
    SofFile(tmp_path / "a.sof", Kind.LOG).close()
    with pytest.raises(StoreError, match="never overwritten"):
        SofFile(tmp_path / "a.sof", Kind.LOG)
    file = SofFile(tmp_path / "b.sof", Kind.LOG)
    file.close()
    with pytest.raises(StoreError, match="closed"):
        file.append([b"x"])


def test_what_is_not_there_cannot_be_read(tmp_path):
    with pytest.raises(StoreError, match="Cannot read"):
        read_sof(tmp_path / "a.sof")


def test_a_disk_that_is_full_is_told_and_nothing_is_lost_unsaid(tmp_path, monkeypatch):
    written = os.write
    room = 5000

    def write(fd, data):
        nonlocal room
        if room < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        room -= len(data)
        return written(fd, data)

    monkeypatch.setattr(os, "write", write)
    with closing(MessagePublisher("127.0.0.1", "*")) as publisher:
        writer = TriggerWriter("t", "127.0.0.1", int(publisher.endpoint.rpartition(":")[2]), tmp_path)
        writer.start()
        pause = threading.Event()
        while not publisher.count_subscribers():
            pause.wait(0.001)
        noise = random.Random(1)
        sent = 0
        while writer.is_alive():
            publisher.send([noise.randbytes(100_000)])
            sent += 1
            pause.wait(0.001)
    with pytest.raises(StoreError, match="No space"):
        writer.close()
    counters = writer.counters
    assert counters["written"] == 0
    assert 0 < counters["not_written"] == counters["received"] <= sent
    assert read_sof(part_of(tmp_path / "t.sof")).objects == []
