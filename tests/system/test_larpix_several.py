"""Several boards in a run of larpix-daq's components: chips of several versions, producers, data servers."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.system.larpix_stand import DaqStand
from tests.system.stand import free_ports

from forebay.store.check import check_file
from forebay.store.larpix_read import PacketFile, RawFile

pytestmark = pytest.mark.system

EVERYBODY = {"LArPix board", "LArPix aggregator", "Offline storage"}


@pytest.fixture
def stand(tmp_path):
    stand = DaqStand(tmp_path)
    yield stand
    stand.close()


def run(stand, n_bytes=30_000, *, is_good=True):
    stand.begin_run()
    stand.until_data(n_bytes)
    said = stand.ask("end_run")
    assert said["result"] == "UPDATED", said
    (end,) = stand.ended()
    (path,) = stand.files()
    assert check_file(path).is_good or not is_good
    return end["account"], path


def test_boards_with_chips_of_several_versions(stand):
    stand.start("core")
    stand.start("producer", "--io-config", "FakeIO", "1", "2/2b", "3/3", "--rate", "3000")
    stand.start("aggregator")
    stand.start("offline_storage", "--asic", "1,2b,3")
    stand.until_clients(EVERYBODY)
    for chip, parameter in (
        ("1-1-246", "global_threshold"),
        ("2-1-245", "threshold_global"),
        ("3-1-243", "cds_mode"),
    ):
        assert stand.ask("send_configuration", {chip: {parameter: 1}})["result"] == "success"
        assert stand.ask("validate_configuration", chip)["result"][0] is False
        assert stand.ask("write_configuration", chip)["result"] == "success"
        assert stand.ask("validate_configuration", chip)["result"] == [True, {}]
    account, path = run(stand)
    sent = account["LArPix board"]
    assert account["Offline storage"]["packets_stored"] == sent["packets_sent"] > 0
    boards = sent["boards"]
    assert sum(one["words"] for one in boards.values()) == sent["packets_sent"]
    assert not any(
        {"parity_errors", "sync_gaps", "clock_resets", "malformed"} & set(one) for one in boards.values()
    )
    with PacketFile(path) as file:
        assert file.version == "2.4"
        rows = file.rows()
        manifest = json.loads(file.file["forebay/manifest"][()])
    assert manifest["counters"]["end"]["receiver"] == boards
    for group, asic, data_type in ((1, "1", 0), (2, "2b", 0), (3, "3", 1)):
        own = rows[(rows["io_group"] == group) & (rows["packet_type"] < 4)]
        assert len(own) == boards[f"io_group_{group}"]["data_words"] > 0
        assert set(own["packet_type"].tolist()) == {data_type}
        assert own["valid_parity"].all()
        assert set(own["chip_id"].tolist()) <= {246, 245, 252, 243}
        assert manifest["boards"][f"io_group_{group}"]["asic_version"] == asic
    n_syncs = sum(one.get("sync_words", 0) for one in boards.values())
    assert int((rows["packet_type"] == 6).sum()) == n_syncs


def test_chips_of_which_the_storage_was_not_told_end_the_run_with_the_reason(stand):
    stand.start("core")
    stand.start("producer", "--io-config", "FakeIO", "1/2")
    stand.start("aggregator")
    stand.start("offline_storage")
    stand.until_clients(EVERYBODY)
    stand.begin_run()
    stand.until(stand.ended)
    (end,) = stand.ended()
    assert "Start the storage with --asic 1,2" in end["reason"]


def test_what_goes_wrong_with_boards_is_booked(stand):
    stand.start("core")
    faults = [word for fault in ("parity=0.02", "reset=2", "no-sync=3") for word in ("--fault", fault)]
    stand.start("producer", "--io-config", "FakeIO", "1", "2/2", "--rate", "4000", *faults)
    stand.start("aggregator")
    stand.start("offline_storage", "--asic", "1,2")
    stand.until_clients(EVERYBODY)
    account, _ = run(stand, n_bytes=2_000_000, is_good=False)
    boards = account["LArPix board"]["boards"]
    assert set(boards) == {"io_group_1", "io_group_2"}
    for one in boards.values():
        assert 0.01 < one["parity_errors"] / one["data_words"] < 0.03


def test_several_producers(stand):
    first = free_ports(1, socket.SOCK_STREAM)
    stand.start("core")
    stand.start("producer", "--io-config", "FakeIO", "1")
    stand.board = f"tcp://127.0.0.1:{first}"
    stand.processes["first producer"] = stand.processes.pop("producer")
    stand.start("producer", "--io-config", "FakeIO", "2", "--name", "Board of the east")
    stand.start("aggregator")
    stand.start("offline_storage", "--form", "raw")
    stand.until_clients(EVERYBODY | {"Board of the east"})
    account, path = run(stand)
    sent = {name: account[name]["packets_sent"] for name in ("LArPix board", "Board of the east")}
    assert all(sent.values())
    assert account["Offline storage"]["packets_stored"] == sum(sent.values())
    assert account["Offline storage"]["messages_missing"] == 0
    with RawFile(path) as file:
        assert set(np.unique(file.read().io_groups).tolist()) == {1, 2}
    stand.kill("producer")  # one that is gone is not waited for
    stand.until_clients(EVERYBODY)
    stand.files()[0].unlink()
    stand.book.write_text("")
    for method in ("prepare_run", "begin_run", "end_run"):
        assert stand.ask(method)["result"] == "UPDATED"


def test_data_servers(stand):
    first = free_ports(4, socket.SOCK_STREAM)
    for io_group, port in ((1, first), (2, first + 2)):
        words = ["larpix", "simulate", "--server", "-p", port, "--io-group", io_group, "--asic", "1"]
        words += ["--chips", 1, "--rate", 1000, "--json"]
        stand.spawn(f"server {io_group}", [sys.executable, "-m", "forebay", *words])
    configuration = stand.directory / "io.json"
    places = [[1, f"127.0.0.1:{first}"], [2, f"127.0.0.1:{first + 2}"]]
    configuration.write_text(
        json.dumps({"_config_type": "io", "io_class": "MultiZMQ_IO", "io_group": places})
    )
    boards = stand.directory / "boards"
    boards.mkdir()
    (boards / "pcb-1_chip_info.json").write_text('{"name": "pcb-1", "chip_list": ["1-1-11", "2-1-11"]}')
    stand.start("core")
    stand.start("producer", "--io-config", "MultiZMQ_IO", configuration, "--boards", boards)
    stand.start("aggregator")
    stand.start("offline_storage")
    stand.until_clients(EVERYBODY)
    for chip in ("1-1-11", "2-1-11"):
        assert stand.ask("send_configuration", {chip: {"global_threshold": 17}})["result"] == "success"
        assert stand.ask("write_configuration", chip)["result"] == "success"
        assert stand.ask("validate_configuration", chip)["result"] == [True, {}]
    account, path = run(stand)
    sent = account["LArPix board"]
    assert account["Offline storage"]["packets_stored"] == sent["packets_sent"] > 0
    assert all(one["times"] and one["heartbeats"] for one in sent["boards"].values())
    with PacketFile(path) as file:
        rows = file.stored()
    assert set(rows["chip_key"][rows["type"] == 0].tolist()) == {b"1-1-11", b"2-1-11"}


def test_a_recording_of_a_data_server(tmp_path):
    port = free_ports(2, socket.SOCK_STREAM)
    forebay = [sys.executable, "-m", "forebay", "larpix"]
    words = (
        f"simulate --server -p {port} --asic 1 --rate 2000 --count 4000 --wait --hwm 0 --patience 5 --json"
    )
    server = subprocess.Popen([*forebay, *words.split()], stdout=subprocess.PIPE, text=True)
    words = (
        f"record 3=127.0.0.1:{port} --server -o {tmp_path} --form packets --words 4000 --seconds 60 --json"
    )
    recorded = subprocess.run([*forebay, *words.split()], capture_output=True, text=True, timeout=100)
    told = json.loads(server.communicate(timeout=30)[0])
    assert recorded.returncode == 0, recorded.stderr
    counts = json.loads(recorded.stdout)
    assert counts["io_group_3.data_words"] == told["data_words"] == 4000
    assert counts["io_group_3.times"] >= 2
    (path,) = counts["files"]
    report = check_file(Path(path))
    assert report.is_good, report.problems
    with PacketFile(Path(path)) as file:
        rows = file.rows()
    words_of_chips = rows[rows["packet_type"] == 0]
    assert len(words_of_chips) == 4000
    assert set(words_of_chips["io_group"].tolist()) == {3}
    assert words_of_chips["valid_parity"].all()
