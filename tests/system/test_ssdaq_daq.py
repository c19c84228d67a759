"""All six receivers of SSDAQ 0.9 as daemons: traffic for each, dumped, written, read back, accounted for."""

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import yaml
import zmq
from tests.system.daq_stand import STREAMS, Daq, command
from tests.system.ssdaq_stand import PATIENCE_S, until

from forebay.service.readout_successor import DataReader, SSDataReaderB
from forebay.store.check import check_file
from forebay.store.readout_reader import ReadoutReader
from forebay.store.recover import recover
from forebay.store.sof_file import read_sof
from forebay.stream.messages import MessageListener
from forebay.wire import cdts

pytestmark = pytest.mark.system

N_READOUTS, N_TRIGGERS, N_LOGS, N_BUNCHES, N_POINTINGS = 200, 300, 400, 100, 5


@pytest.fixture
def daq(tmp_path, tmp_path_factory):
    with closing(Daq(tmp_path, tmp_path_factory.mktemp("r", numbered=True))) as one:
        one.pointings.touch()
        yield one


def log_record(program, k):
    return cdts.encode(
        cdts.LOG,
        {
            "systemType": 0,
            "severity": 20,
            "sender": f"program {program}",
            "message": f"message {k}",
            "time": k,
            "pid": program,
            "sourceFile": "x.py",
            "line": k,
        },
    )


def send_logs(port, n):
    """Send from four programs at once, in pieces of many lengths."""
    records = [[log_record(program, k) for k in range(n // 4)] for program in range(4)]
    streams = [b"".join(one) for one in records]
    with ExitStack() as stack:
        programs = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in streams]
        position, step = 0, 1
        while position < max(map(len, streams)):
            for program, stream in zip(programs, streams, strict=True):
                program.sendall(stream[position : position + step])
            position, step = position + step, step * 7 % 1009
    return [one for each in records for one in each]


def bunch(i):
    triggers = [{"event_counter": 3 * i + k, "time": {"seconds": i, "pico_seconds": k}} for k in range(3)]
    return cdts.encode(cdts.TRIGGER_BUNCH, {"telescope": 1, "bunch_counter": i, "triggers": triggers})


def sent(status, name):
    return status[name]["publishers"][0]["sent"]


def stopped(process):
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 0
    return said


def writers_of(daq):
    """Configure a writer of 0.9 for each stream that has one."""
    kinds = {
        "ss": "ASlowSignalWriter",
        "trig": "ATriggerWriter",
        "time": "TimestampWriter",
        "log": "LogWriter",
    }
    streams = {"ss": "Slow", "trig": "Trigger", "time": "Time", "log": "Log"}
    config = {
        name: {
            "Daemon": {"stderr": f"{daq.folder}/dw-{name}.log", "log_server": ""},
            "Writer": {
                "class": kind,
                "file_prefix": name,
                "folder": str(daq.folder),
                "ip": "127.0.0.1",
                "port": daq.published[streams[name]],
            },
        }
        for name, kind in kinds.items()
    }
    config["ss"]["Writer"]["telescope"] = f"127.0.0.1:{daq.published['Tel']}"
    path = daq.folder / "writers.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def test_every_message_of_every_stream_is_accounted_for(daq):
    assert daq.good("start", "daq", "-c", daq.path).count("runs as process") == 6
    assert "is running already" in daq("start", "daq", "-c", daq.path, "Log").stderr
    listing = daq.good("start", "dw", "-c", writers_of(daq), "-l")
    assert "`trig` as class: ATriggerWriter" in listing
    assert daq.good("start", "dw", "-d", "-c", daq.folder / "writers.yaml").count("runs as process") == 4
    dumper = subprocess.Popen(
        command("trigger_dumper", "-i", "127.0.0.1", "-l", daq.published["Trigger"], "-n", N_TRIGGERS),
        stdout=subprocess.PIPE,
        text=True,
    )
    listening = {"Slow": 1, "Log": 1, "Trigger": 2, "Time": 1, "Tel": 1}
    daq.wait_status(
        "subscribers",
        lambda status: all(
            status[name]["publishers"][0]["subscribers"] == n for name, n in listening.items()
        ),
    )
    with zmq.Context() as context, context.socket(zmq.XPUB) as timing_board:
        timing_board.linger = 0
        timing_board.bind(f"tcp://127.0.0.1:{daq.bunches}")
        assert timing_board.poll(PATIENCE_S * 1000)
        timing_board.recv()
        for i in range(N_BUNCHES):
            timing_board.send(bunch(i))
        daq.simulate(
            "triggers", "--port", daq.trigger, "-n", N_TRIGGERS, "--rate", 1000, "--type", 0, "--type", 3
        )
        daq.simulate("simulate", "--port", daq.udp, "--pattern", "--rate", 500, "-n", N_READOUTS)
        records = send_logs(daq.log, N_LOGS)
        with daq.pointings.open("a", encoding="utf-8") as file:
            for i in range(N_POINTINGS):
                file.write(json.dumps({"ra": i, "dec": -i, "time": 1000 + i}) + "\n")
                file.flush()
                until(
                    lambda i=i: sent(daq.status(["Tel"]), "Tel") == i + 1, "a pointing"
                )  # so that each is published alone
        expected = {
            "Slow": N_READOUTS,
            "Trigger": N_TRIGGERS,
            "Log": N_LOGS,
            "Time": 3 * N_BUNCHES,
            "Tel": N_POINTINGS,
        }
        status = daq.wait_status(
            "everything", lambda status: all(sent(status, name) >= n for name, n in expected.items())
        )
    assert {name: sent(status, name) for name in expected} == expected
    triggers = status["Trigger"]["receiver"]
    assert (triggers["received"], triggers["type_0"], triggers["type_3"]) == (300, 150, 150)
    assert triggers["malformed"] == triggers["kernel_drop"] == 0
    logs = status["Log"]["receiver"]
    assert (logs["received"], logs["messages"], logs["malformed"], logs["clients"]) == (400, 400, 0, 4)
    bunches = status["Time"]["receiver"]
    assert (bunches["received"], bunches["messages"], bunches["lost"]) == (100, 300, 0)
    assert len(dumper.communicate(timeout=PATIENCE_S)[0].splitlines()) == N_TRIGGERS
    assert daq.good("stop", "dw").count("has ended") == 4
    check_files(daq.folder, records)
    assert daq.good("stop", "daq").count("has ended") == 6
    assert "No receiver is running" in daq("stop", "daq").stderr


def check_files(folder, records):
    reader = SSDataReaderB(folder / "ss.hdf5")
    assert [reader.iro for _ in reader] == list(range(1, N_READOUTS + 1))
    reader.close_file()
    files = ReadoutReader(folder / "ss.hdf5")
    pointings = files.telescope()
    files.close()
    assert pointings["ra"].tolist() == list(range(N_POINTINGS))
    assert pointings["db_t_s"].tolist() == [1000 + i for i in range(N_POINTINGS)]
    triggers = list(DataReader(folder / "trig.sof"))
    assert [one.count for one in triggers] == list(range(1, N_TRIGGERS + 1))
    stamps = list(DataReader(folder / "time.sof"))
    assert [one["event_counter"] for one in stamps] == list(range(3 * N_BUNCHES))
    written = DataReader(folder / "log.sof").sof.objects
    assert sorted(written) == sorted(records)
    by_program = [[one for one in written if cdts.decode(cdts.LOG, one)["pid"] == i] for i in range(4)]
    assert [one for each in by_program for one in each] == records
    assert all(check_file(path).is_good for path in folder.glob("*.hdf5"))


def test_one_receiver_is_started_again_while_the_others_go_on(daq):
    dump = daq.folder / "dump.raw"
    daq.config["Trigger"]["Publishers"]["Dump"] = {"class": "RawWriter", "file_name": str(dump)}
    daq.save()
    daq.good("start", "daq", "-c", daq.path, "Log", "Mon", "Trig")
    pids = {name: pid_of(daq, name) for name in ("Log", "Monitor", "Trigger")}
    said = daq.good("restart", "daq", "-c", daq.path, "Trig")
    assert "Trigger has ended" in said
    assert "Trigger runs as process" in said
    assert pid_of(daq, "Trigger") != pids["Trigger"]
    assert [pid_of(daq, name) for name in ("Log", "Monitor")] == [pids["Log"], pids["Monitor"]]
    daq.simulate("triggers", "--port", daq.trigger, "-n", 5, "--rate", 1000)
    daq.wait_status("triggers", lambda status: status["Trigger"]["receiver"]["received"] == 5, ["Trigger"])
    assert dump.stat().st_size == 5 * 1115
    assert "Log has ended" in daq.good("stop", "daq", "Lo")
    assert sorted(json.loads(daq.good("status", "daq", "--json"))) == ["Monitor", "Trigger"]
    assert "Trigger: received 5" in daq.good("status", "daq", "Trig")
    wrong = daq("stop", "daq", "Lo")
    assert wrong.returncode == 1
    assert "No receiver Lo... is running. Running: Monitor, Trigger." in wrong.stderr


def pid_of(daq, name):
    runtime = Path(daq.environment["FOREBAY_RUNTIME_DIR"])
    return (runtime / f"ssdaq-daq:{name}.pid").read_text(encoding="utf-8").split()[0]


def test_every_receiver_tells_how_it_is(daq):
    daq.good("start", "daq", "-c", daq.path)
    with closing(MessageListener("127.0.0.1", daq.published["Monitor"])) as listener:
        seen = {}

        def told():
            for message in listener.read(0.1):
                one = cdts.decode(cdts.MONITOR, message)["reciver"]
                seen.setdefault(one["name"], []).append(one)
            return len(seen) == 6

        until(told, "all of them")
        assert set(seen) == set(STREAMS.values())
        assert str(seen["LogReceiver"][0]["pid"]) == pid_of(daq, "Log")
        end = time.monotonic() + PATIENCE_S
        while not any(one.get("from_tm") for one in seen["ReadoutAssembler"]) and time.monotonic() < end:
            daq.simulate("simulate", "--port", daq.udp, "--modules", 3, "-n", 20, "--rate", 500)
            told()
        (busy, *_) = [one for one in seen["ReadoutAssembler"] if one.get("from_tm")]
        assert busy["from_tm"] == [0, 1, 2]
        assert busy["recv_data"] is True
        assert busy["data_rate"] > 0
        assert seen["TriggerPacketReceiver"][0]["recv_data"] is False
    dash = [sys.executable, "-c", "from forebay.cli.daq_dash import main; main()", "--json", "-n", "3"]
    dash += ["-i", "127.0.0.1", "-l", str(daq.published["Monitor"])]
    said = subprocess.run(dash, capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout
    rows = {one["name"]: one for one in json.loads(said.splitlines()[-1])}
    assert set(rows) == set(STREAMS.values())
    assert all(one["is_online"] for one in rows.values())


def test_what_cannot_be_started_is_told_and_the_others_run(daq):
    (daq.folder / ".ssdaq_config.yaml").write_text(f"daq-config: {daq.path}\n", encoding="utf-8")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", daq.trigger))
        done = daq("start", "daq", "Trig", "Log")
    assert done.returncode == 1
    assert "Log runs as process" in done.stdout
    assert str(daq.trigger) in done.stderr
    assert list(json.loads(daq.good("status", "daq", "--json"))) == ["Log"]


def test_receivers_log_to_the_log_receiver_too(daq):
    daq.config["Tel"]["Daemon"]["log_server"] = f"127.0.0.1:{daq.log}"
    daq.save()
    daq.good("start", "daq", "-c", daq.path, "Log")
    with closing(MessageListener("127.0.0.1", daq.published["Log"])) as listener:
        daq.wait_status(
            "listener", lambda status: status["Log"]["publishers"][0]["subscribers"] == 1, ["Log"]
        )
        daq.good("start", "daq", "-c", daq.path, "Tel")
        found = []
        until(lambda: found.extend(listener.read(0.1)) or found, "a log record")
    record = cdts.decode(cdts.LOG, found[0])
    assert record["sender"] == "ssdaq.Tel"
    assert record["message"].startswith("receiving")


def test_a_killed_writer_loses_only_what_it_had_for_less_than_a_second(tmp_path):
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.linger = 0
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        writer = subprocess.Popen(command("log_writer", "-i", "127.0.0.1", "-l", port, tmp_path / "log"))
        try:
            assert publisher.poll(PATIENCE_S * 1000)
            publisher.recv()
            records = [log_record(0, k) for k in range(100)]
            for record in records:
                publisher.send(record)

            def parts():
                begun = [path for path in tmp_path.glob("log*.sof.part") if path.stat().st_size]
                return [path for path in begun if len(read_sof(path).objects) == 100]

            (part,) = until(
                parts, "a bunch on disk"
            )  # nothing comes any more, and it is written all the same
        finally:
            writer.kill()
            writer.wait()
    found = recover(part)
    assert DataReader(found).sof.objects == records
    assert check_file(found).problems == []
