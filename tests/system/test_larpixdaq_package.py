"""What the README of larpix-daq prints, typed as printed, with the package forebay-larpixdaq."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.system.larpix_stand import DaqStand
from tests.waiting import until

from forebay.front.larpix.arguments import PORTS, SCRIPTS
from forebay.front.larpix.operator import Operator

pytestmark = pytest.mark.system

SOURCE = Path(__file__).parents[2] / "packages" / "larpixdaq" / "src"
FOLDER = SOURCE / "larpixdaq"
MODULES = [*(f"larpixdaq.{script}" for script in SCRIPTS if script != "log"), "xylem.Log"]
OLD_LOG = ("--log-address", "tcp://127.0.0.1:5678")  # what the README says that it is
IN_USE = "is in use by another process"
N_TRIES = 5
EXAMPLE = """
from larpixdaq.operator import Operator

o = Operator()
final_responses = []
for response in o.run_routine('calibrate'):
    print(response)
    # interact with response object within loop
# When the loop ends, the last response received is still saved in
# the response object
final_responses.append(response)
for method in (o.prepare_run, o.begin_run, o.end_run):
    print(method()["message"]["result"])
"""


class Printed(DaqStand):
    """Commands as the README has them: no option says which ports, so these must be free."""

    def __init__(self, directory):
        super().__init__(directory, core=PORTS[0])
        (directory / "routines.json").write_text(
            '{"calibrate": {"function": "tests.system.larpix_stand:calibrate"}}'
        )
        self.environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(Path.cwd())])}

    def type(self, name, *words):
        self.spawn(name, [sys.executable, *words], cwd=self.directory, env=self.environment)

    def start(self):
        """Start everybody; whether they found their ports free."""
        self.type("log", "-m", "xylem.Log", "-o", "log.txt")
        self.type("core", FOLDER / "core.py", "--address", "tcp://127.0.0.1", *OLD_LOG)
        producer = ("larpixdaq.producer", "tcp://127.0.0.1:50001", "--io-config", "FakeIO")
        self.type("producer", "-m", *producer, "--routines", "routines.json")
        self.type("aggregator", "-m", "larpixdaq.aggregator", "tcp://127.0.0.1:50002")
        self.type("storage", FOLDER / "offline_storage.py")
        self.type("run data", FOLDER / "run_data.py")
        everybody = {"LArPix board", "LArPix aggregator", "Offline storage", "Run data"}
        self.until(lambda: self.clients() == everybody or IN_USE in self.errors())
        return IN_USE not in self.errors()


@pytest.fixture
def stand(tmp_path):
    """Lend a stand that has all its ports, which are among those that any connection may have for a while."""
    for i in range(N_TRIES):
        try:
            until(lambda: not any(is_taken(port) for port in (*PORTS, 50001, 50002, 56789, 5678)))
        except AssertionError:
            break
        directory = tmp_path / str(i)
        directory.mkdir()
        stand = Printed(directory)
        try:
            if stand.start():
                yield stand
                return
        finally:
            stand.close()
    pytest.skip("a port of larpix-daq stays in use by another process")


def is_taken(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return True
        return False


def test_the_readme_as_printed(stand):
    words = [sys.executable, "-c", EXAMPLE]
    done = subprocess.run(words, env=stand.environment, capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stderr
    (old,) = Operator(port=PORTS[1]).get_state(timeout=20)  # programs of the README's generation
    assert old["message"]["result"] == "STOP"
    *responses, ready, run, stop = done.stdout.splitlines()
    assert [ready, run, stop] == ["UPDATED"] * 3
    assert "'result': 'pending'" in responses[0]
    assert "'result': [63, 63, 63, 63]" in responses[1]
    assert list(stand.directory.glob("datalog_*.h5"))
    for text in ("| Offline storage      | stored", "| Core                 | state"):
        stand.until(lambda text=text: text in (stand.directory / "log.txt").read_text())


@pytest.mark.parametrize("module", MODULES)
def test_every_module_starts_by_its_name(module):
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    file = SOURCE / (module.replace(".", "/") + ".py")
    for words in (["-m", module], [str(file)]):
        done = subprocess.run(
            [sys.executable, *words, "--help"], env=environment, capture_output=True, text=True, timeout=60
        )
        assert not done.returncode, done.stderr
        assert done.stdout.startswith("usage: ")
