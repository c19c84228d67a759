"""SSDAQ's commands on a bad day: killed daemons, full disks, wrong files, and keys beyond the README's."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.small_disk import small_disk
from tests.system.ssdaq_stand import PATIENCE_S, Ssdaq, until

from forebay.cli.tm_sim import compose
from forebay.front.ssdaq import SSDataReader
from forebay.store.check import check_file
from forebay.store.recover import recover

pytestmark = pytest.mark.system

SLOWLY = ("--rate", 200)  # a busy machine with small socket buffers keeps up, too
SIMULATOR = Path(__file__).parents[2] / "tm-ss-sim" / "SSUDPTMSimulator.py"


@pytest.fixture
def ssdaq(tmp_path, tmp_path_factory):
    with closing(Ssdaq(tmp_path, tmp_path_factory.mktemp("r", numbered=True))) as stand:
        publishers = stand.config["ReadoutAssembler"]["ReadoutPublishers"]
        stand.config["ReadoutAssembler"]["ReadoutPublishers"] = dict(list(publishers.items())[:1])
        stand.save()
        yield stand


def pid_of(said):
    return int(re.search(r"process (\d+)", said)[1])


def numbers(path):
    with closing_file(SSDataReader(path)) as reader:
        return [reader.readout_number for _ in reader]


@contextmanager
def closing_file(reader):
    try:
        yield reader
    finally:
        reader.close_file()


def listening(ssdaq, n):
    until(lambda: ssdaq.status()["publishers"][0]["subscribers"] == n, f"{n} subscribers")


def test_the_control_channel_is_where_the_configuration_says(ssdaq, tmp_path):
    endpoint = f"ipc://{tmp_path}/ssdaq-control"
    ssdaq.config["ReadoutAssemblerDaemon"]["control"] = endpoint
    ssdaq.config["ReadoutAssembler"]["SSReadoutAssembler"]["packet_debug_stream_file"] = "blocks.txt"
    ssdaq.save()
    said = subprocess.run(
        ssdaq.command("control-ssdaq", "start", "roa", "-d", ssdaq.path),
        env=ssdaq.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    cores = os.sched_getaffinity(pid_of(said))
    assert cores == {ssdaq.config["ReadoutAssemblerDaemon"]["core_id"]}
    asked = ssdaq("roa-ctrl", "status")
    assert (asked.returncode, "Nobody listens" in asked.stderr) == (1, True)
    ssdaq.simulate(100, *SLOWLY)
    until(
        lambda: "used 3200" in ssdaq.good("roa-ctrl", "status", "--control", endpoint),
        "every block",
        timeout=60,
    )
    assert ssdaq.good("roa-ctrl", "pause-pub", "--control", endpoint) == "Paused readout publishing\n"
    os.kill(pid_of(said), signal.SIGKILL)  # its socket stays, and hinders nobody
    until(lambda: "not running" in ssdaq("stop", "roa").stderr, "its end")
    ssdaq.good("start", "roa", "-d", ssdaq.path)
    assert "publishing: yes" in ssdaq.good("roa-ctrl", "status", "--control", endpoint)
    ssdaq.good("stop", "roa")
    lines = [line.split("  ") for line in (tmp_path / "blocks.txt").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 3200
    assert {int(module) for _, _, module in lines} == set(range(32))


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("ReadoutAssemblerDaemon", "core_id", 4000, "core_id 4000"),
        ("ReadoutAssemblerDaemon", "stdout", "/nowhere/a.log", "/nowhere/a.log"),
        ("ReadoutAssemblerDaemon", "control", "here", "'here' is not an endpoint"),
        ("ReadoutAssemblerDaemon", "log_level", "LOUD", "log_level"),
        ("ReadoutFileWriterDaemon", "colour", "red", "ReadoutFileWriterDaemon.colour is not a known key"),
    ],
)
def test_what_cannot_be_started_says_why(ssdaq, section, key, value, said):
    ssdaq.config[section][key] = value
    ssdaq.save()
    done = ssdaq("start", "roa", "-d", ssdaq.path)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr + ssdaq.logs()
    assert ssdaq("stop", "roa").returncode == 1


def test_a_port_that_is_taken_is_named(ssdaq):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", ssdaq.udp))
        done = ssdaq("start", "roa", "-d", ssdaq.path)
    assert done.returncode == 1
    assert f"UDP port {ssdaq.udp} of 127.0.0.1 cannot be bound" in done.stderr
    ssdaq.good("start", "roa", "-d", ssdaq.path)
    ssdaq.good("stop", "roa")


def test_two_writers_and_one_that_is_killed_share_a_folder(ssdaq, tmp_path):
    """All begin in the same minute and under the same name; none takes anything from another."""
    ssdaq.config["SSFileWriter"]["file_enumerator"] = "date"
    ssdaq.save()
    ssdaq.good("start", "roa", "-d", ssdaq.path)
    pids = [
        pid_of(ssdaq.good("start", "dw", "-d", "--instance", name, ssdaq.path)) for name in ("a", "b", "c")
    ]
    listening(ssdaq, 3)
    ssdaq.simulate(300, *SLOWLY)
    ssdaq.wait_readouts(300)
    until(lambda: len(list(tmp_path.glob("*.part"))) == 3, "three files")
    journals = list(tmp_path.glob("*.part.journal"))
    until(lambda: min(one.stat().st_size for one in journals) > 300 * 8000, "all in the journals")
    os.kill(pids[0], signal.SIGKILL)
    for name in ("b", "c"):
        ssdaq.good("stop", "dw", "--instance", name)
    (left,) = tmp_path.glob("*.part")
    assert "was killed before" not in ssdaq.logs()  # of those that are alive nothing is said
    assert ssdaq("stop", "dw", "--instance", "a").returncode == 1
    ssdaq.good("start", "dw", "-d", "--instance", "a", ssdaq.path)
    ssdaq.good("stop", "dw", "--instance", "a")
    assert f"forebay recover {left}" in ssdaq.logs()
    files = [*tmp_path.glob("*.hdf5"), recover(left)]
    assert len(set(files)) == 3
    for path in files:
        assert numbers(path) == list(range(1, 301))
        assert [one for one in check_file(path).problems if one.severity == "problem"] == []
    ssdaq.good("stop", "roa")


@pytest.fixture
def folder(tmp_path):
    with small_disk(tmp_path / "small", 6 * 2**20) as folder:
        yield folder


def test_a_full_disk_ends_the_writer_and_it_says_so(ssdaq, folder):
    ssdaq.good("start", "roa", "-d", ssdaq.path)
    ssdaq.good("start", "dw", "-d", "-o", folder, ssdaq.path)
    listening(ssdaq, 1)
    ssdaq.simulate(400, *SLOWLY)
    ssdaq.wait_readouts(400)
    listening(ssdaq, 0)
    stopped = ssdaq("stop", "dw")
    assert stopped.returncode == 1
    assert "No space left on device" in stopped.stderr
    ssdaq.good("stop", "roa")
    (path,) = folder.iterdir()
    found = numbers(path)
    assert 0 < len(found) < 400
    assert found == list(range(1, len(found) + 1))
    checked = check_file(path)
    assert [one.check for one in checked.problems] == ["not-written"]


def test_modules_of_the_compose_file_run_as_it_says(ssdaq):
    """Their command lines, with addresses of this host, and without docker."""
    services = compose(32, "127.0.0.", "127.0.0.1", ssdaq.udp)["services"]
    ssdaq.good("start", "roa", "-d", ssdaq.path)
    running = [
        subprocess.Popen(
            [sys.executable, SIMULATOR, *services[f"tm{i:02}"]["command"], "-r", "100"],
            stdout=subprocess.DEVNULL,
        )
        for i in (0, 7, 31)
    ]
    control = [sys.executable, SIMULATOR.with_name("sim_control.py")]
    try:
        until(
            lambda: set(range(32)) - set(ssdaq.status()["missing_modules"]) == {0, 7, 31},
            "these three modules",
        )
        told = subprocess.run(
            [*control, "cmd", "send_ss_data", "false", "-i", "127.0.0.107"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "TM:7@127.0.0.107" in told
        before = np.array(ssdaq.status()["datagrams_of_module"])
        until(
            lambda: (np.array(ssdaq.status()["datagrams_of_module"]) - before)[[0, 31]].min() > 5,
            "the others",
        )
        more = np.array(ssdaq.status()["datagrams_of_module"]) - before
        assert more[7] <= 1
    finally:
        for one in running:
            one.send_signal(signal.SIGINT)
        codes = [one.wait(PATIENCE_S) for one in running]
    assert codes == [0, 0, 0]
    ssdaq.good("stop", "roa")


@pytest.mark.parametrize("n_letters", [1, 100_000])
def test_a_command_whose_output_nobody_reads_any_more_ends_without_a_word(n_letters):
    reader, writer = os.pipe()
    os.close(reader)
    work = f"from forebay.service.process import carry_out; carry_out('x', lambda: print('a' * {n_letters}))"
    with os.fdopen(writer, "wb") as pipe:
        run = subprocess.run([sys.executable, "-c", work], stdout=pipe, stderr=subprocess.PIPE, timeout=60)
    assert (run.returncode, run.stderr) == (1, b"")
