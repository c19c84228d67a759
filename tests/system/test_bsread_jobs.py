"""A bsread stream among the sources of jobs: beside a detector and process variables, and alone."""

import os
import signal
import socket
from contextlib import closing, contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from forebay.pulse import PulseRange
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.pvs import PvRing
from forebay.run.bus import connect
from forebay.run.operator import Operator
from forebay.service.bsread_disk import open_ring
from forebay.store.catalog import open_catalog
from forebay.store.check import check_file
from forebay.wire.epics import Update

from .stand import Stand, free_ports, wait_until

pytestmark = pytest.mark.system

RATE_HZ = 100
FIRST = 10_000
PERIOD_NS = 1_000_000_000 // RATE_HZ


class Hall(Stand):
    """A detector, a bsread stream and its source, and a hub with workers."""

    def __init__(self, directory, **stream):
        workers = {"record": 3, "retrieve": 3}
        super().__init__(directory, slots=1024, detector={"bit_depth": 8}, workers=workers)
        self.source_port, output_port = (free_ports(1, socket.SOCK_STREAM) for _ in range(2))
        self.ring = directory / "bsread"
        bs = {
            "source": f"tcp://127.0.0.1:{self.source_port}",
            "output_port": output_port,
            "max_messages": 200,
            "disk": {"directory": str(self.ring)},
            **stream,
        }
        self.configure(self.settings | {"bsread": {"bs": bs}})

    def beam(self):
        words = ("--interval", 1 / RATE_HZ, "--first", FIRST, "--scalars", 20)
        return self.start("bs", "simulate", "--port", self.source_port, *words)

    @contextmanager
    def operator(self):
        config = self.config
        with (
            closing(connect(config, name="test")) as bus,
            closing(open_catalog(config)) as catalog,
            Operator(config, bus, catalog, who="test") as operator,
        ):
            yield operator

    def newest(self):
        """Return the newest pulse in the stream's ring on disk."""
        span = open_ring(self.ring).span
        return 0 if span is None else span.last

    def waits_for(self, pulse_id):
        wait_until(lambda: self.newest() >= pulse_id, lambda: f"pulse {pulse_id}\n{self.logs()}")

    def pid_of(self, words):
        return next((pid for pid, line in self.processes().items() if words in line), None)


@pytest.fixture
def hall(tmp_path):
    with Hall(tmp_path) as hall:
        yield hall


def ended(hall, operator, job):
    found = operator.wait(job.id, 60)
    assert found.has_ended, (found, hall.logs())
    return found


def pulses_in(job):
    with h5py.File(job.result["file"]) as file:
        columns = [group["pulse_id"][:].ravel() for group in file["data"].values()]
    assert all(np.array_equal(columns[0], one) for one in columns[1:])
    return columns[0].tolist()


def pvs_of(directory, pulses):
    """Make a buffer of process variables, as its service would, over these pulses and some around them."""
    ring = PvRing(directory, DiskLimits(64 * 2**20), "PULSE")
    first, at = pulses.first - 200, 1_795_000_000_000_000_000
    for pulse_id in range(first, pulses.last + 500):
        updates = [Update("PULSE", at, at, True, "NO_ALARM", 0, np.asarray(pulse_id, np.int64))]
        if pulse_id % 50 == 0 or pulse_id == first:
            updates.append(Update("X", at, at, True, "NO_ALARM", 0, np.asarray(float(pulse_id))))
        ring.write(updates, at)
        at += PERIOD_NS
    ring.close(at)


def test_three_kinds_of_sources_in_one_request(hall, tmp_path):
    slow = {"pvs": ["X"], "pulse_id_pv": "PULSE", "directory": str(tmp_path / "pvs")}
    hall.configure(hall.settings | {"epics": {"slow": slow}})
    config = ("--config", hall.config_path)
    hall.serve("hub").waits_to_say("serving")
    hall.serve("receive").waits_to_say("receiving")
    hall.serve("assemble")
    hall.start("serve", "bsread", "bs", *config).waits_to_say("listening")
    workers = [hall.start("serve", "record", str(i), *config) for i in range(3)]
    for worker in workers:
        worker.waits_to_say("takes jobs")
    hall.beam()
    hall.waits_for(FIRST + 50)
    hall.simulate("--rate", RATE_HZ, "--first", hall.newest())
    hall.waits_for(hall.newest() + 100)

    newest = hall.newest()
    pulses = PulseRange(newest - 50, newest + 149)  # past and to come
    pvs_of(tmp_path / "pvs", pulses)
    sources = [hall.name, "bs", "slow"]
    with hall.operator() as operator:
        planned = operator.plan("record", {"sources": sources, "pulses": str(pulses)})
        assert [plan.source for plan in planned] == sources
        assert int(planned[1].held.partition("..")[0]) == FIRST
        jobs = operator.request("record", {"sources": sources, "pulses": str(pulses)})
        done = [ended(hall, operator, job) for job in jobs]
        assert [job.state for job in done] == ["finished"] * 3, (done, hall.logs())
        assert {(job.run, job.acquisition) for job in done} == {(1, 1)}
        assert [job.n_done for job in done] == [200] * 3
        files = {file.source: file for file in operator.files()}
    assert (files["bs"].first_pulse, files["bs"].last_pulse) == (pulses.first, pulses.last)
    assert (files["bs"].n_expected, files["bs"].n_got, files["bs"].n_missing) == (200, 200, 0)
    assert files[hall.name].n_missing == 0
    assert pulses_in(done[1]) == list(pulses)
    for job in done:
        assert check_file(Path(job.result["file"])).is_good


def test_supervised_killed_and_counted(hall):
    hall.run()
    hall.beam()
    hall.waits_for(FIRST + 300)
    with hall.operator() as operator:
        (past,) = operator.request("retrieve", {"sources": ["bs"], "pulses": f"{FIRST}..{FIRST + 99}"})
        past = ended(hall, operator, past)
        assert (past.state, past.n_done) == ("finished", 100), past
        assert pulses_in(past) == list(range(FIRST, FIRST + 100))

        begun = hall.newest()
        (endless,) = operator.request("record", {"sources": ["bs"]})
        wait_until(lambda: operator.job(endless.id).n_done > 50, lambda: f"messages\n{hall.logs()}")
        first = hall.newest() + 1
        os.kill(hall.pid_of(" serve bsread bs "), signal.SIGKILL)
        hall.waits_for(first + 100)  # it was started again
        n_then = first + 60 - begun
        wait_until(lambda: operator.job(endless.id).n_done > n_then, lambda: f"more\n{hall.logs()}")
        operator.cancel(endless.id)
        endless = ended(hall, operator, endless)
        assert endless.state == "cancelled"
        found = pulses_in(endless)
        assert found[-1] > first + 50, "it went on with the new buffer"
        there = open_ring(hall.ring).read(PulseRange(found[0], found[-1]))
        assert found == [event.pulse_id for event in there], "what it missed meanwhile is on disk"
        problems = check_file(Path(endless.result["file"])).problems
        assert not [problem for problem in problems if problem.severity == "problem"], problems

        ahead = hall.newest() + 300
        (coming,) = operator.request("record", {"sources": ["bs"], "pulses": f"{ahead - 200}..{ahead}"})
        wait_until(lambda: operator.job(coming.id).worker, "a worker")
        worker = int(operator.job(coming.id).worker.split("pid ")[1].split(",")[0].rstrip(")"))
        os.kill(worker, signal.SIGKILL)
        coming = ended(hall, operator, coming)
        assert (coming.state, coming.n_done) == ("finished", 201), (coming, hall.logs())
        assert pulses_in(coming) == list(range(ahead - 200, ahead + 1))

        def counters():
            services = {one.key: one.detail for one in operator.status().services}
            return next((d.get("counters", {}) for key, d in services.items() if ".bsread" in key), {})

        wait_until(lambda: counters().get("disk_written", 0) > 100, lambda: f"counters in {counters()}")
        told = counters()
        assert told["input_received"] == told["input_events"] + told["input_malformed"]
