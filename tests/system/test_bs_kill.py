"""kill -9 of buffer and writer at random moments: what is whole is found, what is there is right."""

import os
import random
import time
from contextlib import suppress

import pytest
from tests.system.bs_stand import SIMULATOR, BsStand, check_file
from tests.system.stand import wait_until

from forebay.errors import StoreError
from forebay.ring.disk import DiskReader
from forebay.store.check import check_file as check_promises
from forebay.store.recover import recover
from forebay.wire.bsread import HeaderCache, decode

N_KILLS = int(os.environ.get("FOREBAY_KILLS", "8"))

pytestmark = [pytest.mark.system, pytest.mark.timeout(max(600, 60 * N_KILLS))]


@pytest.fixture
def stand(tmp_path):
    with BsStand(tmp_path) as stand:
        yield stand


def let_some_time_go_by(draw):
    until = time.monotonic() + draw.uniform(0, 0.6)
    while time.monotonic() < until:
        time.sleep(0.001)


def test_kill_of_the_writer(stand, tmp_path):
    stand.simulate("-i", "0.002")
    buffer = stand.buffer("-b", "2000")
    draw = random.Random(1)
    n_rows = 0
    for i in range(N_KILLS):
        path = tmp_path / f"{i:02}.h5"
        writer = stand.writer(path)
        if draw.random() < 0.5:
            writer.ask("PUT", f"/stop_pulse_id/{draw.choice([50, 400, 10**9])}")
        with suppress(ConnectionError):
            writer.ask("PUT", "/start_pulse_id/0")
        let_some_time_go_by(draw)
        seen = -1
        if draw.random() < 0.5 and writer.program.lives:
            with suppress(OSError):
                seen = writer.statistics()["counters"]["written"]
        writer.program.kill()
        part = path.with_name(path.name + ".part")
        if part.exists() or not path.exists():  # both, where it had not cleaned up yet
            with suppress(StoreError):  # killed before anything was written down: there is nothing to recover
                recover(part)
        assert not part.exists() or not path.exists()
        if path.exists():
            ids = check_file(path)
            assert ids == list(range(ids[0], ids[0] + len(ids))) if ids else True
            assert len(ids) >= seen
            report = check_promises(path)
            assert not [one for one in report.problems if one.severity == "problem"], report.problems
            n_rows += len(ids)
        else:
            assert seen <= 0
    assert buffer.lives
    assert n_rows > 20 * N_KILLS
    assert buffer.stop().code == 0


def test_kill_of_the_buffer(stand, tmp_path):
    stand.simulate("-i", "0.002")
    draw = random.Random(2)
    ring = tmp_path / "ring"
    n_before = 0
    for i in range(N_KILLS):
        buffer = stand.buffer("-b", "2000", "--ring", ring)
        path = tmp_path / f"{i:02}.h5"
        writer = stand.writer(path)
        writer.ask("PUT", "/start_pulse_id/0")
        if draw.random() < 0.8:
            writer.waits_for(1)
        let_some_time_go_by(draw)
        buffer.kill()
        writer.ask("GET", "/stop")
        assert writer.wait().code == 0, writer.program
        ids = check_file(path)
        cache = HeaderCache()
        reader = DiskReader(ring, lambda one, cache=cache: decode([bytes(part) for part in one.parts], cache))
        span = reader.span
        if span is None:
            assert not ids
            continue
        events = list(reader.read(span))
        kept = [event.pulse_id for event in events]
        assert (reader.undecodable, reader.records.counters.damaged) == (0, 0)
        assert len(kept) >= n_before
        assert set(ids) <= set(kept) or max(ids) - max(kept) <= 300  # sent before they were on disk
        for event in events[-20:]:
            assert [bytes(one) for one in event.arrays.parts[1:]][::2] == [
                bytes(one) for one in SIMULATOR.parts(event.pulse_id, event.time_ns)[1:]
            ][::2]
        n_before = len(kept)
    assert n_before > 20 * N_KILLS
    after = stand.buffer("-b", "2000", "--ring", ring)
    wait_until(lambda: DiskReader(ring, list).span.last > kept[-1], "the ring goes on")
    assert after.stop().code == 0
