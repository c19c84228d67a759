"""Four boards through the components, stopped the moment the last word was sent: what was sent is stored."""

import json
import os
import signal
import socket
import sys

import numpy as np
import pytest
from tests.system.larpix_stand import DaqStand
from tests.system.stand import free_ports

from forebay.store.check import check_file
from forebay.store.larpix_read import PacketFile

pytestmark = pytest.mark.system

RATE = int(os.environ.get("FOREBAY_TEST_LARPIX_RATE", "100000"))
SECONDS = int(os.environ.get("FOREBAY_TEST_LARPIX_SECONDS", "3"))
N_BOARDS = 4
BLOCK = 1_000_000
PARTS = {"LArPix board", "LArPix aggregator", "Offline storage", "Online monitor"}


@pytest.fixture
def stand(tmp_path):
    stand = DaqStand(tmp_path)
    yield stand
    stand.close()


@pytest.mark.timeout(120 + 6 * SECONDS)
def test_what_boards_sent_is_stored(stand):
    first = free_ports(3 * N_BOARDS, socket.SOCK_STREAM)
    ports = {group: first + 3 * group - 2 for group in range(1, N_BOARDS + 1)}
    boards = [f"{group}=127.0.0.1:{port}/1" for group, port in ports.items()]
    stand.start("core")
    stand.start("producer", "--io-config", "PACMAN_IO", *boards)
    for script in ("aggregator", "offline_storage", "online_monitor"):
        stand.start(script)
    stand.until_clients(PARTS)
    stand.begin_run()
    options = f"--rate {RATE / N_BOARDS} --count {RATE * SECONDS // N_BOARDS} --asic 1 --hwm 0 --patience 5"
    for group, port in ports.items():
        words = f"larpix simulate -p {port} --io-group {group} {options} --wait --json"
        stand.spawn(f"board{group}", [sys.executable, "-m", "forebay", *words.split()])
    for group in ports:
        assert stand.processes[f"board{group}"].wait(10 * SECONDS + 30) == 0, stand.errors()
    said = stand.ask("end_run", timeout=90.0)
    assert said["result"] == "UPDATED", said
    sent = [json.loads((stand.directory / f"board{group}.err").read_text())["data_words"] for group in ports]
    account = stand.ended()[0]["account"]
    assert sum(sent) == RATE * SECONDS // N_BOARDS * N_BOARDS
    assert (
        account["LArPix board"]["packets_sent"] == account["Offline storage"]["packets_stored"] == sum(sent)
    )
    assert (account["LArPix board"]["words_behind"], account["LArPix board"]["late_boards"]) == (0, [])
    assert account["Offline storage"]["messages_missing"] == 0
    assert account["LArPix aggregator"]["messages_perhaps_lost"] == 0
    (path,) = stand.files()
    assert check_file(path).is_good
    found = np.zeros(256, np.int64)
    with PacketFile(path) as file:
        for start in range(0, len(file), BLOCK):
            rows = file.rows(start, start + BLOCK)
            found += np.bincount(rows["io_group"][rows["packet_type"] == 0], minlength=256)
    assert found[list(ports)].tolist() == sent


def test_a_run_of_boards_that_go_on_ends_with_a_second(stand):
    first = free_ports(3, socket.SOCK_STREAM)
    words = f"larpix simulate -p {first + 1} --rate 20000 --asic 1 --hwm 0"
    stand.spawn("board", [sys.executable, "-m", "forebay", *words.split()])
    stand.start("core")
    stand.start("producer", "--io-config", "PACMAN_IO", f"1=127.0.0.1:{first + 1}/1")
    for script in ("aggregator", "offline_storage"):
        stand.start(script)
    stand.until_clients(PARTS - {"Online monitor"})
    stand.begin_run()
    stand.until_data()
    assert stand.ask("end_run")["result"] == "UPDATED"
    account = stand.ended()[0]["account"]
    board = account["LArPix board"]
    assert board["packets_sent"] == account["Offline storage"]["packets_stored"] > 0
    came = board["boards"]["io_group_1"]
    assert came["data_words"] <= board["packets_sent"] + board["words_behind"] <= came["words"]
    assert board["late_boards"] == []


def test_all_end_cleanly_by_ctrl_c(stand):
    stand.start("log")
    stand.start_all()
    stand.start("online_monitor")
    stand.until_clients(PARTS)
    stand.begin_run()
    for process in stand.processes.values():
        process.send_signal(signal.SIGINT)
    codes = {name: process.wait(30) for name, process in stand.processes.items()}
    assert set(codes.values()) == {0}, codes
    assert "Traceback" not in stand.errors()
    (path,) = stand.files()
    assert check_file(path).is_good
