"""The README of SSDAQ followed line by line, with real processes."""

import gzip
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.system.ssdaq_stand import FOREBAY, PATIENCE_S, Ssdaq, free_port, until

from forebay.front.ssdaq import SSDataReader, SSReadoutListener
from forebay.store.check import check_file
from forebay.stream.request import ask
from forebay.wire import ssreadout, target

pytestmark = pytest.mark.system

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq"
T0 = 1_700_000_000_000_000_000


@pytest.fixture
def ssdaq(tmp_path, tmp_path_factory):
    with closing(Ssdaq(tmp_path, tmp_path_factory.mktemp("r", numbered=True))) as stand:
        yield stand


class Collected:
    """Everything that a listener gets."""

    def __init__(self, ip, port):
        self.readouts = []
        self._listener = SSReadoutListener(port=port, ip=ip)
        self._listener.start()
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self):
        while (readout := self._listener.get_readout()) is not None:
            self.readouts.append(readout)

    @property
    def numbers(self):
        return [one.readout_number for one in self.readouts]

    def close(self):
        self._listener.close()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def test_every_readout_sent_is_in_the_file_whole_and_once(ssdaq, tmp_path):
    with (
        closing(Collected("0.0.0.0", ssdaq.remote)) as remote,
        closing(Collected("127.0.0.1", ssdaq.outbound)) as outbound,
    ):
        assert "runs as process" in ssdaq.good("start", "roa", "-d", ssdaq.path)
        ssdaq.good("start", "dw", "-d", ssdaq.path)
        listener = subprocess.Popen(
            ssdaq.command("ss-example-listener", "-l", ssdaq.local, "-n", 200, "-t", 3),
            stdout=subprocess.PIPE,
            text=True,
        )
        ssdaq.wait_subscribers(2, 1, 1)
        ssdaq.simulate(200)
        ssdaq.wait_readouts(200)
        assert ssdaq.good("roa-ctrl", "pause-pub") == "Paused readout publishing\n"
        ssdaq.simulate(100)
        assert ssdaq.wait_readouts(300)["withheld"] == 100
        assert ssdaq.good("roa-ctrl", "restart-pub") == "Unpaused readout publishing\n"
        ssdaq.simulate(100)
        ssdaq.wait_readouts(400)
        assert ssdaq.good("roa-ctrl", "reset-count") == "Readout count reset\n"
        ssdaq.simulate(100)
        ssdaq.wait_readouts(500)
        said = listener.communicate(timeout=PATIENCE_S)[0]
        assert "; 100 readouts never came" in ssdaq.good("stop", "dw")  # those that were withheld
        status = ssdaq.status()
        ssdaq.good("stop", "roa")
        expected = [*range(1, 201), *range(301, 401), *range(1, 101)]
        until(lambda: len(remote.numbers) >= 400 and len(outbound.numbers) >= 400, "all listened to")
        assert remote.numbers == outbound.numbers == expected
    assert re.findall(r"Readout number: (\d+)", said) == [str(i) for i in range(1, 201)]
    assert said.count("Modules: 32, ") == 200
    assert "32 modules:    200 readouts" in said
    assert status["receiver"]["kernel_drop"] == 0
    assert status["builder"]["incomplete_readouts"] == 0
    assert [one["sent"] for one in status["publishers"]] == [400, 400, 400]
    assert [one["congested"] for one in status["publishers"]] == [0, 0, 0]
    for name, numbers in (("001", expected[:300]), ("002", expected[300:])):
        path = tmp_path / f"SlowSignalData{name}.hdf5"
        assert [one for one in check_file(path).problems if one.severity != "note"] == []
        reader = SSDataReader(path)
        assert [(reader.readout_number, whole(reader)) for _ in reader.read()] == [(n, True) for n in numbers]
        reader.close_file()
    assert sorted(path.name for path in tmp_path.glob("*.hdf5*")) == [
        "SlowSignalData001.hdf5",
        "SlowSignalData002.hdf5",
    ]


def whole(reader):
    """Whether the amplitudes are those of one readout of the simulator's pattern, in all modules."""
    counts = target.counts_of(reader.data.astype(float)).astype(int)
    base = 64 * np.arange(32)[:, None] + np.arange(64)
    return len(np.unique(counts - base)) == 1


def golden_messages():
    data = gzip.decompress((VECTORS / "zmq/golden_A_zmq.bin.gz").read_bytes())
    while data:
        (n,) = struct.unpack_from("<I", data)
        yield data[4 : 4 + n]
        data = data[4 + n :]


def test_golden_packets_through_real_processes_are_the_golden_messages(ssdaq):
    """But for readout 0, of which the original loses all modules but one, and the numbers after it."""
    ssdaq.config["ReadoutAssembler"]["SSReadoutAssembler"]["buffer_time"] = 1e9
    ssdaq.save()
    with closing(Collected("127.0.0.101", ssdaq.local)) as heard:
        ssdaq.good("start", "roa", "-d", ssdaq.path)
        until(lambda: ssdaq.status()["publishers"][0]["subscribers"] == 1, "a subscriber")
        subprocess.run(
            [
                *FOREBAY,
                "replay",
                str(VECTORS / "udp/golden_A.pcap"),
                "--port",
                f"2209={ssdaq.udp}",
                "--keep-sources",
                "--speed",
                "4",
            ],
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
        )
        status = until(
            lambda: (s := ssdaq.status())["builder"]["used"] == 2 + 4 * 320 + 310 + 60 and s, "every block"
        )
        assert status["builder"]["blocks"] == status["builder"]["used"]
        ssdaq.good("stop", "roa")
        until(lambda: len(heard.readouts) >= 112, "every readout")
    ours = {one.readout_timestamp: one for one in heard.readouts}
    n_same = 0
    for message in golden_messages():
        golden = ssreadout.decode([message])[0]
        mine = ours[int(golden["time_ns"])]
        mine.readout_number = int(golden["number"])
        if golden["time_ns"] != T0:
            assert bytes(mine.pack()) == message
            n_same += 1
    assert n_same == 60


def test_several_instances_on_one_host_and_honest_exit_codes(ssdaq, tmp_path):
    assert ssdaq("stop", "roa").returncode == 1
    ssdaq.good("start", "roa", "-d", ssdaq.path)
    again = ssdaq("start", "roa", "-d", ssdaq.path)
    assert (again.returncode, "running already" in again.stderr) == (1, True)
    taken = ssdaq("start", "roa", "-d", ssdaq.path, "--instance", "two")
    assert taken.returncode == 1
    assert str(ssdaq.udp) in taken.stderr or "in use" in taken.stderr
    two = Ssdaq(tmp_path, Path(ssdaq.environment["FOREBAY_RUNTIME_DIR"]))
    two.good("start", "roa", "-d", two.path, "--instance", "two")
    assert two.status("two")["port"] == two.udp
    said = two.good("roa-ctrl", "status", "--json", "--instance", "two")
    assert json.loads(said)["port"] == two.udp
    assert ssdaq.status()["port"] == ssdaq.udp
    two.good("stop", "roa", "--instance", "two")
    assert ssdaq.status()["builder"]["readouts"] == 0
    ssdaq.good("stop", "roa")
    asked = ssdaq("roa-ctrl", "reset-count")
    assert (asked.returncode, "Nobody listens" in asked.stderr) == (1, True)


def test_a_killed_daemon_is_not_mistaken_for_another_process(ssdaq):
    said = ssdaq.good("start", "roa", "-d", ssdaq.path)
    os.kill(int(re.search(r"process (\d+)", said)[1]), signal.SIGKILL)
    until(lambda: "was killed" in ssdaq("stop", "roa").stderr, "its end")
    pid_file = Path(ssdaq.environment["FOREBAY_RUNTIME_DIR"]) / "ssdaq-roa.pid"
    pid_file.write_text(f"{os.getpid()} 1", encoding="utf-8")  # a pid that somebody else has by now
    assert ssdaq("stop", "roa").returncode == 1
    ssdaq.good("start", "roa", "-d", ssdaq.path)
    ssdaq.good("stop", "roa")
    assert "ended in order" in ssdaq("stop", "roa").stderr


def test_hostile_commands_and_datagrams_disable_nothing(ssdaq):
    ssdaq.good("start", "roa", "-d", ssdaq.path)
    endpoint = f"ipc://{ssdaq.environment['FOREBAY_RUNTIME_DIR']}/ssdaq-control"
    for question in (b"", b"explode now", bytes(range(256)), b"set_publish_readouts", b"x" * 100_000):
        assert ask(endpoint, question, PATIENCE_S)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.150", 0))
        for datagram in (b"", b"x" * 143, b"x" * 1440, bytes(1440)):
            stranger.sendto(datagram, ("127.0.0.1", ssdaq.udp))
    ssdaq.simulate(100, "--fault", "empty=0.5 short=0.02 duplicate=0.1 late=0.02 dead=4")
    status = until(lambda: (s := ssdaq.status())["builder"]["readouts"] > 90 and s, "readouts")
    assert status["publishing"]
    assert status["missing_modules"] == [4]
    assert status["receiver"]["foreign"] == 4
    assert "never came: modules 4" in ssdaq.good("roa-ctrl", "status")
    ssdaq.good("restart", "roa", ssdaq.path)
    assert ssdaq.status()["builder"]["readouts"] == 0
    ssdaq.good("stop", "roa")


def test_the_simulator_of_the_readme_into_a_file_of_ones_own_name(ssdaq, tmp_path):
    (tmp_path / "mine").mkdir()
    ssdaq.good("start", "roa", "-d", ssdaq.path)
    ssdaq.good("start", "dw", "-d", "-f", "other", "-o", tmp_path / "mine", ssdaq.path)
    until(lambda: ssdaq.status()["publishers"][0]["subscribers"] == 1, "a subscriber")
    script = Path(__file__).parents[2] / "tm-ss-sim" / "SSUDPTMSimulator.py"
    subprocess.run([sys.executable, script, str(ssdaq.udp), "localhost", "-n", "20", "-c", "0"], check=True)
    ssdaq.wait_readouts(20)
    ssdaq.good("stop", "dw")
    ssdaq.good("stop", "roa")
    reader = SSDataReader(tmp_path / "mine" / "other001.hdf5")
    modules = [np.flatnonzero(~np.isnan(data[:, 0])).tolist() for data in reader]
    reader.close_file()
    assert modules == [[1]] * 20  # by the last byte of 127.0.0.1


def test_a_writer_that_cannot_write_says_so(ssdaq, tmp_path):
    ssdaq.config["SSFileWriter"]["folder"] = str(tmp_path / "nowhere")
    ssdaq.save()
    done = ssdaq("start", "dw", "-d", ssdaq.path)
    assert (done.returncode, "nowhere" in done.stderr) == (1, True)


def test_writer_and_assembler_in_the_foreground(ssdaq, tmp_path):
    tcp, udp = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
    environment = ssdaq.environment
    roa = subprocess.Popen(
        ssdaq.command("ssdaq", "-l", udp, "-p", tcp, "-i", "0.0.0.0"),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    writer = subprocess.Popen(
        ssdaq.command("ssdatawriter", "-l", tcp, "-i", "127.0.0.1", tmp_path / "mine"),
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: ssdaq("roa-ctrl", "status").returncode == 0, "an assembler")
        until(lambda: ssdaq.status()["publishers"][0]["subscribers"] == 1, "a subscriber")
        ssdaq.udp = udp
        ssdaq.simulate(50)
        ssdaq.wait_readouts(50)
        assert "written 50" in writer.communicate("yes\n", timeout=PATIENCE_S)[0]
        assert writer.returncode == 0
        roa.send_signal(signal.SIGINT)
        said = roa.communicate(timeout=PATIENCE_S)[1]
        assert roa.returncode == 0, said
        assert re.search(r"assembling .*port=\d+ publisher=tcp://0.0.0.0:\d+", said)
        assert "assembled readouts=50 incomplete=0" in said
    finally:
        for process in (roa, writer):
            process.kill()
            process.communicate()
    (path,) = tmp_path.glob("mine*.hdf5")
    assert check_file(path).problems == []


def test_a_subscriber_that_stands_still_costs_nobody_else_anything(ssdaq):
    """It is stopped by a signal, so that nothing is read for it; the counters say what it did not get."""
    ssdaq.good("start", "roa", "-d", ssdaq.path)
    slow = subprocess.Popen(
        ssdaq.command("ss-example-listener", "-l", ssdaq.local), stdout=subprocess.DEVNULL
    )
    try:
        until(lambda: ssdaq.status()["publishers"][0]["subscribers"] == 1, "the slow one")
        slow.send_signal(signal.SIGSTOP)
        with closing(Collected("127.0.0.101", ssdaq.local)) as quick:
            until(lambda: ssdaq.status()["publishers"][0]["subscribers"] == 2, "the quick one")
            ssdaq.simulate(3000, "--rate", "1000")
            ssdaq.wait_readouts(3000)
            until(lambda: len(quick.numbers) >= 3000, "every readout at the quick one")
            assert quick.numbers == list(range(1, 3001))
        publisher = ssdaq.status()["publishers"][0]
        assert publisher["sent"] == 3000
        assert publisher["congested"] > 0
    finally:
        slow.kill()
        slow.wait()
    ssdaq.good("stop", "roa")
