"""Cameras and boards as all else: supervised, recorded by jobs, killed, started again, stopped in order."""

import json
import os
import re
import signal
import socket
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.system.stand import Stand, free_ports, wait_until

from forebay.api.client import Client
from forebay.cli.job_view import is_good
from forebay.run.bus import connect
from forebay.run.operator import Operator
from forebay.store.catalog import open_catalog
from forebay.store.check import check_file
from forebay.store.larpix_read import PacketFile
from forebay.store.left import manifest_of_stream
from forebay.store.readout_reader import ReadoutReader

pytestmark = pytest.mark.system

RATE_HZ = 200
WORDS_HZ = 5000
LIMIT_S = 60.0
SERVICE = {"chec": "camera.chec", "tpc": "boards.tpc"}


class SlowStand(Stand):
    """A camera `chec` and two boards `tpc` under a supervisor, with an operator in the test."""

    def __init__(self, directory, **workers):
        super().__init__(directory, workers={"record": 2, "retrieve": 1, **workers})
        self.camera_port = free_ports(1)
        self.board_ports = [1 + free_ports(3, socket.SOCK_STREAM) for _ in range(2)]
        self.api_port = free_ports(1, socket.SOCK_STREAM)
        members = [{"io_group": 1 + i, "port": port} for i, port in enumerate(self.board_ports)]
        settings = {key: value for key, value in self.settings.items() if key != "detectors"}
        self.configure(
            {
                **settings,
                "cameras": {"chec": {"port": self.camera_port, "window_s": 0.4 / RATE_HZ}},
                "boards": {"tpc": {"members": members}},
                "api": {"port": self.api_port},
            }
        )

    def send(self, source, *options):
        """Start the simulators of a source, without an end unless told."""
        if source == "chec":
            words = ("--port", self.camera_port, "--pattern", "--rate", RATE_HZ, "--packed", 2)
            return [self.start("camera", "simulate", *words, *options, "--json")]
        words = ("--rate", WORDS_HZ, "--hwm", 0, "--patience", 5)
        return [
            self.start("larpix", "simulate", "-p", port, "--io-group", 1 + i, *words, *options, "--json")
            for i, port in enumerate(self.board_ports)
        ]

    @contextmanager
    def operator(self):
        with (
            closing(connect(self.config, name="test")) as bus,
            closing(open_catalog(self.config)) as catalog,
            Operator(self.config, bus, catalog, who="test") as operator,
        ):
            yield operator

    def pid_of(self, service):
        asked = " serve {} {} ".format(*service.split("."))
        return next((pid for pid, words in self.processes().items() if asked in words), None)

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}/metrics", timeout=LIMIT_S) as answer:
            text = answer.read().decode()
        line = re.compile(
            r'service_counter_total\{counter="(\w+)",service="service\.[^.]+\.([\w.]+)"\} (\S+)'
        )
        return {(service, counter): float(value) for counter, service, value in line.findall(text)}


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    with SlowStand(tmp_path_factory.mktemp("slow")) as stand:
        stand.run()
        yield stand


@pytest.fixture(scope="module")
def operator(stand):
    with stand.operator() as operator:
        yield operator


@pytest.fixture
def sending(stand):
    """Lend the function that starts simulators; they end with the test."""
    started = []

    def send(source, *options):
        started.extend(stand.send(source, *options))
        return started

    yield send
    for program in started:
        if program.lives:
            program.stop()


def begin(operator, source, **asked):
    """Begin a recording that waits for simulators that are yet to start, unless told otherwise."""
    (job,) = operator.request("record", {"sources": [source], "idle_s": LIMIT_S, **asked})
    wait_until(lambda: operator.job(job.id).state == "running", "a worker", LIMIT_S)
    return job


def comes(operator, job, n, more_than=0):
    """Wait until so much is written."""
    wait_until(lambda: operator.job(job.id).n_done >= n + more_than, lambda: operator.job(job.id), LIMIT_S)


def restarts_told(news):
    """Return how often the service began anew, as the recording's next news say; 0 while there are none."""
    told = news.read(1.0)
    return told and told.body.get("facts", {}).get("restarts", 0)


def ended(operator, job):
    found = operator.wait(job.id, LIMIT_S)
    assert found.has_ended, found
    return found


def good(operator, job, *, losses=False):
    """Return the one file of a job, checked and booked as it is."""
    (file,) = operator.files(job_id=job.id)
    found = [one for one in check_file(Path(file.path)).problems if one.severity != "note"]
    assert [one for one in found if one.severity == "problem" or not losses] == []
    assert (file.path, file.run, file.acquisition) == (job.result["file"], job.run, job.acquisition)
    assert file.n_got == job.result["got"] == job.n_done
    assert not list(Path(file.path).parent.glob("*.part*"))
    return Path(file.path)


def test_a_number_of_readouts_by_command(stand, operator, sending):
    sending("chec")
    words = ("record", "chec", "-c", stand.config_path, "--images", 100, "--json")
    done = stand.forebay(*words, timeout=LIMIT_S)
    assert done.code == 0, done
    job = json.loads(done.out)
    job = operator.job((job[0] if isinstance(job, list) else job)["id"])
    assert (job.state, job.reason, job.result["got"], job.result["lost"]) == (
        "finished",
        "count reached",
        100,
        0,
    )
    with closing(ReadoutReader(good(operator, job))) as reader:
        readouts = reader.read()
    assert (np.diff(readouts["number"].astype(int)) == 1).all()
    wait_until(lambda: stand.metrics().get(("camera.chec", "stream_sent"), 0) >= 100, "metrics", LIMIT_S)
    counters = stand.metrics()
    assert counters["camera.chec", "datagrams"] == counters["camera.chec", "used_datagrams"]


def test_both_at_once_by_rest_in_one_run(stand, operator, sending):
    for source in SERVICE:
        sending(source)
    with Client(f"http://127.0.0.1:{stand.api_port}") as client:
        jobs = [client.wait(job.id, LIMIT_S) for job in client.record(list(SERVICE), seconds=1.5, id="both")]
    assert [job.state for job in jobs] == ["finished", "finished"]
    assert len({(job.run, job.acquisition) for job in jobs}) == 1
    for job in jobs:
        good(operator, operator.job(job.id))


def test_every_readout_that_was_sent_is_in_the_file(operator, sending):
    job = begin(operator, "chec", idle_s=LIMIT_S)
    (camera,) = sending("chec", "--count", 300)
    comes(operator, job, 300)
    operator.finish(job.id)
    job = ended(operator, job)
    assert (job.state, job.n_done) == ("finished", 300)
    assert json.loads(camera.wait().out)["datagrams"] == 300 // 2 * 32
    path = good(operator, job)
    with h5py.File(path) as file:
        assert file["SlowSignal/readout"].attrs["run"] == job.run
    counted = manifest_of_stream(path).counters.difference
    (port,) = (counts for name, counts in counted.receiver.items() if name.isdecimal())
    assert (port["datagrams"], port["kernel_drop"]) == (300 // 2 * 32, 0)
    assert {
        f"module {i}": {"datagrams": 150, "used": 300} for i in range(32)
    }.items() <= counted.receiver.items()
    assert (counted.builder["used"], counted.builder["readouts"]) == (300 * 32, 300)


def test_every_word_that_was_sent_is_in_the_file(operator, sending):
    job = begin(operator, "tpc", idle_s=LIMIT_S)
    boards = sending("tpc", "--count", 5000, "--wait")
    n_sent = sum(json.loads(board.wait().out)["words_sent"] for board in boards)
    comes(operator, job, n_sent)
    operator.finish(job.id)
    job = ended(operator, job)
    assert (job.state, job.result["got"]) == ("finished", n_sent)
    path = good(operator, job)
    boards = manifest_of_stream(path).counters.difference.receiver
    assert sum(counts.get("words", 0) for counts in boards.values()) == n_sent
    with PacketFile(path) as packets:
        assert packets.file["_header" if "_header" in packets.file else "meta"].attrs["run"] == job.run


@pytest.mark.parametrize("source", ["chec", "tpc"])
def test_time_over_and_nothing_came(operator, sending, source):
    job = ended(operator, begin(operator, source, idle_s=0.5))
    assert (job.state, job.reason, job.result["got"]) == ("finished", "nothing came for 0.5 s", 0)
    assert (job.result["silent"], is_good(job)) == {
        "chec": ([], True),
        "tpc": (["io_group_1", "io_group_2"], False),
    }[source]
    good(operator, job)
    sending(source)
    first = begin(operator, source)
    comes(operator, first, 1)
    operator.finish(first.id)
    ended(operator, first)
    job = ended(operator, begin(operator, source, seconds=2.0))
    assert (job.state, job.reason) == ("finished", "time over")
    assert job.result["got"] > 0
    good(operator, job)


@pytest.mark.parametrize("source", ["chec", "tpc"])
def test_cancel_ends_it_whole(operator, sending, source):
    sending(source)
    job = begin(operator, source)
    comes(operator, job, 100)
    operator.cancel(job.id)
    job = ended(operator, job)
    assert job.state == "cancelled"
    good(operator, job)


@pytest.mark.parametrize("source", ["chec", "tpc"])
def test_a_killed_service_comes_back_and_its_recording_goes_on(stand, operator, sending, source):
    sending(source)
    job = begin(operator, source, idle_s=LIMIT_S)
    comes(operator, job, 100)
    pid = stand.pid_of(SERVICE[source])
    with closing(operator.watch(job.id)) as news:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: stand.pid_of(SERVICE[source]) not in (None, pid), "its next life", LIMIT_S)
        wait_until(lambda: restarts_told(news), "the recording to hear of it", LIMIT_S)
    before = operator.job(job.id).n_done
    comes(operator, job, 200, more_than=before)
    operator.finish(job.id)
    job = ended(operator, job)
    assert (job.state, job.result["restarts"], job.result["lost"]) == ("finished", 1, 0)
    good(operator, job, losses=True)


@pytest.mark.parametrize("source", ["chec", "tpc"])
def test_a_killed_worker_leaves_what_it_wrote(stand, operator, sending, source):
    sending(source)
    job = begin(operator, source)
    comes(operator, job, 100)
    worker = operator.job(job.id).worker.partition(" ")[0]
    os.kill(stand.pid_of(worker), signal.SIGKILL)
    job = ended(operator, job)
    assert job.state == "failed"
    assert re.match(r"Its worker died; the file was recovered and has \d+ (readouts|words)\.", job.reason)
    assert job.result["got"] >= 100
    good(operator, job)


def test_what_they_cannot_be_asked_for_is_said(stand):
    for words, said in (
        (("record", "chec", "--pulses", "3..5"), "cannot be asked for pulses"),
        (("retrieve", "tpc", "3..5"), "cannot be asked for pulses"),
        (("record", "tpc", "--images", 3), "which send words"),
    ):
        done = stand.forebay(*words, "-c", stand.config_path)
        assert done.code == 1
        assert said in done.err


def test_a_stop_is_in_order_and_keeps_what_came(tmp_path):
    with SlowStand(tmp_path) as stand:
        supervisor = stand.run()
        for source in SERVICE:
            stand.send(source)
        with stand.operator() as operator:
            jobs = [begin(operator, source) for source in SERVICE]
            for job in jobs:
                comes(operator, job, 100)
        done = supervisor.stop()
        assert done.code == 0, done
        order = re.findall(r"supervisor stopped service=(\S+)", done.err)
        workers = {"record.1", "record.2", "retrieve.1"}
        assert order[0] == "gateway.rest"
        assert set(order[1:4]) == workers
        assert set(order[4:6]) == set(SERVICE.values())
        assert order[6:] == ["hub.bus"]
        with closing(open_catalog(stand.config)) as catalog:
            for job in jobs:
                (file,) = catalog.files(job_id=job.id)
                assert check_file(Path(file.path)).is_good
                assert "stopped" in catalog.job(job.id).reason
