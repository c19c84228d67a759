"""larpix-daq's own components and operator with our core, and ours with theirs, to the end of a run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from tests.system.larpix_stand import DaqStand

pytestmark = pytest.mark.compat

PEER_PYTHON = Path(os.environ.get("FOREBAY_LARPIXDAQ_PYTHON", ".venv/peers-larpixdaq/bin/python"))
PEER = Path(__file__).with_name("larpixdaq_peer.py")
NAMES = {
    "producer": "LArPix board",
    "aggregator": "LArPix aggregator",
    "offline_storage": "Offline storage",
    "online_monitor": "Online monitor",
}
needs_peer = pytest.mark.skipif(
    not PEER_PYTHON.exists() or sys.version_info >= (3, 13),
    reason="larpix-daq is not installed (make test), or not made for this Python",
)


class MixedStand(DaqStand):
    def peer(self, script):
        words = {
            "core": [self.log],
            "log": ["-p", self.log, "-o", self.directory / "log.txt"],
            "producer": [self.board, "--io-config", "FakeIO"],
            "aggregator": [self.aggregator],
            "offline_storage": ["-o", self.directory / "data"],
        }.get(script, [])
        if script not in ("core", "log"):
            words = [*words, "--log-address", self.log]
        self.spawn(script, [PEER_PYTHON.absolute(), PEER, self.core_port, script, *words])

    def peer_operator(self, *methods):
        words = [PEER_PYTHON.absolute(), PEER, self.core_port, "operator", *methods]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr + self.errors()
        return [json.loads(line) for line in done.stdout.splitlines()]

    def begin(self, script, of_peer):
        if of_peer:
            self.peer(script)
        else:
            self.start(script)
        if script == "core":
            self.until_core()


@pytest.fixture
def stand(tmp_path):
    (tmp_path / "data").mkdir()
    stand = MixedStand(tmp_path)
    yield stand
    stand.close()


def n_packets(path):
    with h5py.File(path, "r") as file:
        kinds = file["packets"]["type"]
    return int((kinds == 0).sum())


@needs_peer
@pytest.mark.parametrize(
    "theirs",
    [
        ("producer", "aggregator", "offline_storage", "online_monitor"),
        ("producer",),
        ("aggregator",),
        ("offline_storage",),
        ("core",),
        ("core", "producer", "aggregator"),
    ],
    ids="-".join,
)
def test_a_run_with_parts_of_both(stand, theirs):
    scripts = ["log", "core", "producer", "aggregator", "offline_storage"]
    scripts += ["online_monitor"] * ("online_monitor" in theirs)
    for script in scripts:
        stand.begin(script, script in theirs)
    stand.until_clients({NAMES[one] for one in scripts if one in NAMES})
    answers = stand.peer_operator("prepare_physics_run", "begin_physics_run", "get_boards")
    assert [one[-1]["message"]["result"] for one in answers[:2]] == ["UPDATED", "UPDATED"], answers
    assert answers[2][-1]["message"]["result"]["current"] == "pcb-1"
    stand.until_data(0)
    stand.peer_operator('run_routine:["hello_world", "you"]')
    (ended,) = stand.peer_operator("end_physics_run")
    assert ended[-1]["message"]["result"] == "UPDATED"
    stand.until(lambda: len(stand.files()) == 1)
    if "offline_storage" not in theirs:
        assert n_packets(stand.files()[0]) > 0
    if "core" not in theirs:
        (end,) = stand.ended()
        assert end["reason"].startswith("ended by")


@needs_peer
def test_our_operator_asks_their_core_and_board(stand):
    for script in ("core", "producer"):
        stand.begin(script, of_peer=True)
    stand.until_clients({"LArPix board"})
    answers = list(stand.operator().get_boards(timeout=20))
    assert [one["header"] for one in answers] == ["ACTION TICKET", "ACTION RESULT"]
    assert {one["name"] for one in answers[-1]["message"]["result"]["data"]} >= {"pcb-1", "pcb-10"}
    assert stand.ask("run_routine", "hello_world", "you")["result"] == "Hello, you!"
    assert stand.ask("get_state")["result"] == "STOP"
    chip = answers[-1]["message"]["result"]["data"][0]["chips"][0]
    assert stand.ask("retrieve_configuration", chip)["result"]["global_threshold"] == 16


@needs_peer
def test_their_operator_asks_our_core_and_board(stand):
    for script in ("core", "producer"):
        stand.start(script)
    stand.until_clients({"LArPix board"})
    chip = "1-1-246"
    answers = stand.peer_operator(
        f'retrieve_configuration:["{chip}"]',
        f'send_configuration:[{{"{chip}": {{"global_threshold": 40}}}}]',
        f'validate_configuration:["{chip}"]',
        f'write_configuration:["{chip}"]',
        f'validate_configuration:["{chip}"]',
        f'read_configuration:["{chip}"]',
        "list_routines",
        'run_routine:["hello_world", "you"]',
        'load_board:["controller/pcb-1_chip_info.json"]',
        'load_board:["nothing"]',
    )
    results = [one[-1]["message"]["result"] for one in answers]
    assert results[0]["global_threshold"] == 16
    assert results[1] == "success"
    assert results[2] == [False, {"32": [40, 16]}]
    assert results[4] == [True, {}]
    assert len(results[5].splitlines()) == 63
    assert {one["name"] for one in results[6]} == {"hello_world", "quickstart"}
    assert results[7] == "Hello, you!"
    assert results[8] == "success"
    assert results[9].startswith("ERROR: There is no board 'nothing'")


@needs_peer
def test_their_producer_reads_our_data_server(stand):
    host = f"127.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}.3"
    words = f"larpix simulate --server --bind {host} --asic 1 --chips 1 --rate 1000 --json"
    stand.spawn("server", [sys.executable, "-m", "forebay", *words.split()])
    configuration = {"_config_type": "io", "io_class": "ZMQ_IO", "io_group": [[1, host]]}
    (stand.directory / "io.json").write_text(json.dumps(configuration))
    for script in ("core", "aggregator", "offline_storage"):
        stand.start(script)
    words = [stand.board, "--io-config", "ZMQ_IO", "io.json", "--log-address", stand.log]
    command = [PEER_PYTHON.absolute(), PEER, stand.core_port, "producer", *words]
    stand.spawn("producer", command, cwd=stand.directory)
    stand.until_clients(set(NAMES.values()) - {NAMES["online_monitor"]})
    stand.begin_run()
    stand.until_data(20_000)
    stand.ask("end_run")
    stand.until(lambda: len(stand.files()) == 1)
    with h5py.File(stand.files()[0], "r") as file:
        packets = file["packets"][:]
    assert set(packets["chip_key"][packets["type"] == 0].tolist()) == {b"1-1-11"}
    assert packets["valid_parity"][packets["type"] == 0].all()
    assert (packets["type"] == 4).any()  # times of the server


@needs_peer
def test_their_components_live_on_when_another_of_our_cores_takes_the_place_of_one(stand):
    for script in ("core", "producer", "aggregator", "offline_storage", "online_monitor"):
        stand.begin(script, of_peer=script != "core")
    stand.until_clients(set(NAMES.values()))
    stand.begin_run()
    first = stand.processes.pop("core")
    stand.start("core", "--standby")
    errors = stand.directory / "core.err"
    stand.until(lambda: "standing by" in errors.read_text())
    first.kill()
    first.wait()
    stand.until_clients(set(NAMES.values()))
    assert stand.ask("get_state")["metadata"]["run"] == 1
    assert stand.ask("get_boards")["result"]["current"] == "pcb-1"
    stand.until_data(20_000)
    assert stand.ask("end_run")["result"] == "UPDATED"
    assert stand.ended()[0]["reason"].startswith("ended by")
    assert n_packets(stand.files()[0]) > 0
