"""larpix-control's ZMQ_IO and MultiZMQ_IO with our simulated data servers: commands, configurations, data."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.compat

PEER_PYTHON = Path(os.environ.get("FOREBAY_LARPIXDAQ_PYTHON", ".venv/peers-larpixdaq/bin/python"))
PEER = Path(__file__).with_name("larpix_server_peer.py")
needs_peer = pytest.mark.skipif(
    not PEER_PYTHON.exists() or sys.version_info >= (3, 13),
    reason="larpix-control 2.3.0 is not installed (make test), or not made for this Python",
)


@pytest.fixture
def servers(tmp_path):
    """Two data servers at the ports that larpix-control has for them: addresses of loopback are their own."""
    hosts = {group: f"127.{os.getpid() % 200 + 1}.{os.getpid() // 200 % 250}.{group}" for group in (1, 2)}
    processes = []
    for group, host in hosts.items():
        words = (
            f"larpix simulate --server --bind {host} --io-group {group} --asic 1 --chips 1 --rate 2000 --json"
        )
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "forebay", *words.split()], stdout=subprocess.PIPE, text=True
            )
        )
    yield hosts
    for process in processes:
        process.terminate()
    for process in processes:
        told = json.loads(process.communicate(timeout=30)[0])
        assert told["data_words"] > 0


def ask(tmp_path, name, places, *keys):
    configuration = tmp_path / f"{name}.json"
    configuration.write_text(json.dumps({"_config_type": "io", "io_class": name, "io_group": places}))
    done = subprocess.run(
        [PEER_PYTHON.absolute(), PEER, name, configuration, *keys],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # it prints every heartbeat, too


def check_data(said, keys, begun):
    assert said["verified"] == [True] * len(keys)
    assert said["good_parity"]
    assert said["n_data"] > 100
    assert said["keys"] == keys
    assert said["times"] == sorted(said["times"])
    assert all(begun <= one <= time.time() for one in said["times"])


@needs_peer
def test_zmq_io(servers, tmp_path):
    begun = int(time.time()) - 60
    said = ask(tmp_path, "ZMQ_IO", [[1, servers[1]]], "1-1-11")
    assert said["ping"] is True
    assert (said["clock"], said["reset"], said["test_pulse"]) == (["OK"], ["OK"], "OK")
    assert said["count"] >= said["n_data"]
    check_data(said, ["1-1-11"], begun)


@needs_peer
def test_multizmq_io(servers, tmp_path):
    begun = int(time.time()) - 60
    said = ask(
        tmp_path, "MultiZMQ_IO", [[group, host] for group, host in servers.items()], "1-1-11", "2-1-11"
    )
    assert said["ping"] == dict.fromkeys(servers.values(), True)
    check_data(said, ["1-1-11", "2-1-11"], begun)


@needs_peer
def test_their_reader_refuses_blocks_that_it_does_not_know():
    program = """
import sys
from larpixdaq.packetformat import fromBytes
for text in sys.argv[1:]:
    try:
        print(fromBytes(bytes.fromhex(text)))
    except ValueError as error:
        print("refused:", error)
"""
    import numpy as np

    from forebay.wire import pacman
    from forebay.wire.larpix import board_block
    from forebay.wire.pacman_batch import PacmanArrays

    blocks = []
    for n in range(40):
        message = pacman.encode(pacman.DATA_MESSAGE, n, pacman.data_words(1, 2, np.arange(n)))
        arrays = PacmanArrays(message, np.array([len(message)], np.uint32), 0, "2")
        blocks.append(board_block.encode(arrays).hex())
    done = subprocess.run([PEER_PYTHON, "-c", program, *blocks], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["refused: Invalid number of bytes: 0"] * len(blocks)
