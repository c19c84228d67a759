"""The disk ring between processes: a writer that is killed, readers that follow, a second writer."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forebay.errors import RingError
from forebay.pulse import PulseRange
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.disk_reader import RecordReader
from forebay.ring.disk_writer import RecordWriter

pytestmark = pytest.mark.system

PAYLOAD = """
def payload(pulse_id):
    return b"%d" % pulse_id, bytes([pulse_id % 251]) * (pulse_id * 7919 % 5000)
"""

WRITER = (
    PAYLOAD
    + """
import os, random, sys
from pathlib import Path
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.disk_reader import RecordReader
from forebay.ring.disk_writer import RecordWriter
ring = Path(sys.argv[1])
writer = RecordWriter(ring, DiskLimits(int(sys.argv[2]), segment_bytes=int(sys.argv[2]) // 16, sync_s=0.02))
span = RecordReader(ring).span
pulse_id = span.last + 1 if span else 0
while True:
    n = random.randrange(1, 30)
    writer.write([(p, p * 1000, payload(p)) for p in range(pulse_id, pulse_id + n)])
    pulse_id += n
    os.write(1, b"%d\\n" % (pulse_id - 1))
"""
)

READER = (
    PAYLOAD
    + """
import json, sys
from pathlib import Path
from forebay.ring.disk_reader import RecordReader
follower = RecordReader(Path(sys.argv[1])).follow()
n_read = wrong = 0
first = last = None
done = False
print("reading", flush=True)
while not done:
    for record in follower.read(1.0):
        parts = tuple(bytes(p) for p in record.parts)
        n_read += 1
        first = record.number if first is None else first
        wrong += last is not None and record.number <= last
        last = record.number
        done = parts == (b"end",)
        wrong += not done and (parts != payload(record.pulse_id) or record.time_ns != record.pulse_id * 1000)
        wrong += not done and record.number != record.pulse_id
counters = follower.counters
print(json.dumps(dict(n_read=n_read, wrong=wrong, first=first, last=last, lost=counters.lost,
                      damaged=counters.damaged, lost_pulses=sum(len(r) for r in counters.lost_pulses))))
"""
)


def run(code: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], stdout=subprocess.PIPE, text=True, bufsize=1
    )


FULL = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from forebay.pulse import PulseRange
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.disk_reader import RecordReader
from forebay.ring.disk_writer import RecordWriter
ring = Path(sys.argv[1]) / "ring"
def part(p):
    return bytes([p % 251]) * 20_000
writer = RecordWriter(ring, DiskLimits(10**9, segment_bytes=2**20))
for p in range(2000):
    writer.write([(p, p, (part(p),))])
writer.close()
reader = RecordReader(ring)
pulses = [r.pulse_id for r in reader.read(PulseRange(0, 2000)) if r.parts == (part(r.pulse_id),)]
print(json.dumps(dict(counters=asdict(writer.counters), pulses=pulses, damaged=reader.counters.damaged)))
"""


@pytest.mark.parametrize(("max_bytes", "n_kills"), [(2**30, 8), (400_000, 4)])
def test_killed_writer_and_three_readers(tmp_path: Path, max_bytes: int, n_kills: int) -> None:
    """Readers get every record once, or count it as lost; what a writer had written stays."""
    ring = tmp_path / "ring"
    RecordWriter(ring, DiskLimits(max_bytes)).close()
    readers = [run(READER, ring) for _ in range(3)]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
        for _ in range(n_kills):
            writer = run(WRITER, ring, max_bytes)
            assert writer.stdout is not None
            for _ in range(random.randrange(1, 150)):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            for line in writer.stdout.read().splitlines(keepends=True):
                acknowledged = int(line) if line.endswith("\n") else acknowledged
            writer.wait()
            writer.stdout.close()
            RecordWriter(ring, DiskLimits(max_bytes)).close()
            span = RecordReader(ring).span
            assert span is not None
            assert span.last >= acknowledged
        end = RecordWriter(ring, DiskLimits(max_bytes))
        end.write([(span.last + 1, (span.last + 1) * 1000, (b"end",))])
        end.close()
        for reader in readers:
            out, _ = reader.communicate(timeout=60)
            found = json.loads(out)
            assert found["wrong"] == 0
            assert found["damaged"] == 0
            assert found["n_read"] + found["lost"] == found["last"] + 1 == span.last + 2
            assert found["lost"] == found["lost_pulses"]
            if max_bytes == 2**30:
                assert (found["first"], found["lost"]) == (0, 0)
        numbers = [r.pulse_id for r in RecordReader(ring).read(PulseRange(0, span.last))]
        assert numbers == list(range(numbers[0], span.last + 1))
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
            assert reader.stdout is not None
            reader.stdout.close()


def test_second_writer_in_another_process(tmp_path: Path) -> None:
    ring = tmp_path / "ring"
    first = run(WRITER, ring, 10**6)
    assert first.stdout is not None
    try:
        first.stdout.readline()
        with pytest.raises(RingError, match=f"process {first.pid}"):
            RecordWriter(ring, DiskLimits(10**7))
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
    RecordWriter(ring, DiskLimits(10**7)).close()


def test_idle_ring_drops_by_age_without_a_write(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "ring", DiskLimits(10**7, max_age_s=0.05, sync_s=0.01))
    writer.write([(1, 1, (b"x",))])
    end = time.monotonic() + 30
    while writer.counters.expired == 0 and time.monotonic() < end:
        time.sleep(0.01)
    assert writer.counters.expired == 1
    assert RecordReader(tmp_path / "ring").span is None
    writer.close()


def test_disk_that_is_really_full(tmp_path: Path) -> None:
    """A file system of 8 MiB in a namespace of its own, 40 MB of records."""
    mount = "mount -t tmpfs -o size=8m tmpfs"
    trial = subprocess.run(["unshare", "-rm", "sh", "-c", f"{mount} {tmp_path}"], capture_output=True)
    if trial.returncode:
        pytest.skip("mounting in a user namespace is not allowed here")
    inside = f'{mount} {tmp_path} && exec "$0" -c "$1" {tmp_path}'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", inside, sys.executable, FULL],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    counters = found["counters"]
    assert counters["not_written"] == 0
    assert counters["disk_full"] > 0
    assert counters["written"] == 2000 == counters["expired"] + len(found["pulses"])
    assert found["pulses"] == list(range(2000))[-len(found["pulses"]) :]
    assert len(found["pulses"]) > 200
    assert found["damaged"] == 0
