"""The commands of the camera, as people type them."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.ports import free_ports

from forebay.store.check import check_file
from forebay.store.readout_reader import ReadoutReader

pytestmark = [pytest.mark.system, pytest.mark.calm]

FOREBAY = [sys.executable, "-m", "forebay", "camera"]


def free_port(kind):
    return str(free_ports(1, kind))


def is_bound(port):
    """Whether somebody receives at a UDP port, as the kernel says."""
    return f":{int(port):04X} " in Path("/proc/net/udp").read_text(encoding="ascii")


def test_simulated_received_looked_at_and_written(tmp_path):
    udp, tcp = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    command = [*FOREBAY, "receive", "--port", udp, "--publish", f"127.0.0.1:{tcp}", "-o", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--enumerate", "order", "--buffer-s", "0.5", "--json"], stdout=subprocess.PIPE
    ) as receiver:
        for _ in range(1000):
            if is_bound(udp):
                break
            try:
                receiver.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
        view = subprocess.Popen([*FOREBAY, "view", "127.0.0.1", tcp, "--png", str(tmp_path / "a.png")])
        sent = subprocess.run(
            [
                *FOREBAY,
                "simulate",
                "--port",
                udp,
                "--rate",
                "200",
                "-n",
                "600",
                "--fault",
                "dead=3",
                "--json",
            ],
            check=True,
            capture_output=True,
        )
        assert view.wait(20) == 0
        receiver.send_signal(signal.SIGINT)
        status = json.loads(receiver.communicate(timeout=20)[0])
    assert receiver.returncode == 0
    assert json.loads(sent.stdout)["datagrams"] == 60 * 31 == status["receiver"]["datagrams"]
    assert status["missing_modules"] == [3]
    assert status["queues"] == [{"offered": 600, "taken": 600, "overflow": 0}]
    assert status["publishers"][0]["offered"] == 600 >= status["publishers"][0]["sent"] > 0
    assert status["builder"]["used"] == 600 * 31
    with closing(ReadoutReader(tmp_path / "SlowSignalData001.hdf5")) as reader:
        readouts = reader.read()
    assert readouts["number"].tolist() == list(range(1, 601))
    assert np.isnan(readouts["data"][:, 3]).all()
    assert [one.check for one in check_file(tmp_path / "SlowSignalData001.hdf5").problems] == [
        "incomplete-readouts"
    ]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["receive", "--publish", "127.0.0.1"], "IP:PORT"),
        (["receive", "--publish", "127.0.0.1:5:loud"], "loud"),
        (["receive", "--listen", "here"], "here"),
        (["receive", "-o", "/tmp", "--enumerate", "size"], "size"),
        (["simulate", "--fault", "colour=1"], "colour"),
        (["simulate", "--rate", "-1"], "-1"),
        (
            ["view", "127.0.0.1", "9", "--png", "a.png", "--wait", "0.1"],
            "No readout came from tcp://127.0.0.1:9",
        ),
    ],
)
def test_wrong_options_are_named(arguments, said):
    run = subprocess.run([*FOREBAY, *arguments], capture_output=True, text=True, timeout=30, env=os.environ)
    assert run.returncode != 0
    assert said in run.stderr
    assert "Traceback" not in run.stderr
