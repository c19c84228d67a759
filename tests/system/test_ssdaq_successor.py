"""Commands of SSDAQ 0.9: start daq, dumpers, writers."""

import json
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml
import zmq
from tests.system.ssdaq_stand import PATIENCE_S, Ssdaq

from forebay.service.readout_successor import DataReader, SSDataReaderB

pytestmark = pytest.mark.system

TRIGGERS = [
    (Path(__file__).parents[1] / "vectors/ssdaq/trigger" / f"trigger_{name}.bin").read_bytes()
    for name in ("nominal_v1", "v2", "v3")
]


def command(name, *words):
    code = f"from forebay.service.readout_successor_commands import {name} as main; main()"
    return [sys.executable, "-c", code, *map(str, words)]


def stopped(process):
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 0
    return said


def test_triggers_are_dumped_and_written(tmp_path):
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.linger = 0
        publisher.setsockopt(zmq.XPUB_VERBOSER, 1)
        where = ["-i", "127.0.0.1", "-l", publisher.bind_to_random_port("tcp://127.0.0.1")]
        dumper = subprocess.Popen(
            command("trigger_dumper", *where, "-n", 4), stdout=subprocess.PIPE, text=True
        )
        writer = subprocess.Popen(
            command("trigger_writer", *where, tmp_path / "trig"), stdout=subprocess.PIPE, text=True
        )
        for _ in range(2):
            assert publisher.poll(PATIENCE_S * 1000)
            publisher.recv()
        for message in (*TRIGGERS, b"none"):
            publisher.send(message)
        lines = dumper.communicate(timeout=PATIENCE_S)[0].splitlines()
        assert "written 4" in stopped(writer)
    assert [json.loads(line).get("type") for line in lines] == [0, 2, 3, None]
    (path,) = tmp_path.glob("trig*.sof")
    assert DataReader(path).sof.objects == [*TRIGGERS, b"none"]


def test_start_daq_publishes_and_the_slow_signals_are_dumped_and_written(tmp_path, tmp_path_factory):
    with closing(Ssdaq(tmp_path, tmp_path_factory.mktemp("r", numbered=True))) as ssdaq:
        config = {
            "SlowSignal": {
                "Daemon": {"stdout": f"{tmp_path}/daq.log", "stderr": f"{tmp_path}/daq.log"},
                "Receiver": {
                    "class": "SSReadoutAssembler",
                    "listen_ip": "127.0.0.1",
                    "listen_port": ssdaq.udp,
                },
                "Publishers": {"P": {"class": "ZMQTCPPublisher", "ip": "127.0.0.1", "port": ssdaq.local}},
            }
        }
        config["SlowSignal"]["Daemon"]["set_taskset"] = False
        ssdaq.path.write_text(yaml.safe_dump(config), encoding="utf-8")
        ssdaq.good("start", "daq", "-c", ssdaq.path)
        where = ["-i", "127.0.0.1", "-l", ssdaq.local]
        dumper = subprocess.Popen(
            command("slowsig_dumper", *where, "-n", 50), stdout=subprocess.PIPE, text=True
        )
        writer = subprocess.Popen(
            command("slowsig_writer", *where, tmp_path / "ss"), stdout=subprocess.PIPE, text=True
        )
        ssdaq.wait_subscribers(2)
        ssdaq.simulate(50)
        ssdaq.wait_readouts(50)
        lines = dumper.communicate(timeout=PATIENCE_S)[0].splitlines()
        assert "written 50" in stopped(writer)
        ssdaq.good("stop", "daq")
    assert [json.loads(line)["iro"] for line in lines] == list(range(1, 51))
    (path,) = tmp_path.glob("ss*.hdf5")
    reader = SSDataReaderB(path)
    assert [reader.iro for _ in reader] == list(range(1, 51))
    assert reader.cpu_t > 1.7e9
    reader.close_file()
