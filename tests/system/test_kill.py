"""kill -9 of every process at random: files stay readable, what was written is recovered, nothing is left.

Each round starts a stand, kills every kind of process twice, in random order and at random moments, and
judges each kill. Every other round has two modules. Five rounds are fifty kills; FOREBAY_KILL_ROUNDS asks
for more.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest
from tests.system.stand import PATIENCE_S, Program, Stand, command, command_lines, wait_until

from forebay.errors import RingError
from forebay.pulse import PulseRange
from forebay.ring.shared import SharedRing
from forebay.sim.pattern import pattern
from forebay.store.check import check_file
from forebay.store.journal import HeadlessError, read_journal
from forebay.store.manifest import Manifest, from_json
from forebay.store.paths import journal_of, part_of
from forebay.store.recover import recover
from forebay.wire.eiger import eiger

pytestmark = [pytest.mark.system, pytest.mark.calm, pytest.mark.timeout(400)]

N_ROUNDS = int(os.environ.get("FOREBAY_KILL_ROUNDS", "5"))
VICTIMS = ("supervisor", "receive", "assemble", "recorder", "simulator")
RATE_HZ = 150
LAYOUT = eiger(8)
DECLARED = ("missing-pulses", "incomplete-images", "not-written")
"""Checks that complain of losses which the file itself declares."""


@cache
def sent(turn: int, n_modules: int) -> np.ndarray:
    """Return the packets, (module, packet, byte), of a pulse; pulses 7 apart are alike."""
    modules = [pattern("ramp", LAYOUT, turn, i) for i in range(n_modules)]
    return np.stack(modules).reshape(n_modules, LAYOUT.packets_per_frame, -1)


def journalled(final: Path) -> list[int]:
    """Return the pulses that the journal of a recording holds; [] while there is none."""
    try:
        return read_journal(journal_of(part_of(final))).records["pulse_id"].tolist()
    except (FileNotFoundError, HeadlessError):
        return []


def judge(final: Path) -> tuple[list[int], Manifest]:
    """Check that a file is readable, exact, and tells just what is missing; return its pulses."""
    report = check_file(final, skip=DECLARED)
    assert report.is_good, report.problems
    with h5py.File(final) as file:
        manifest = from_json(file["entry/manifest/data"][()])
        (name,) = manifest.sources
        group = file[f"entry/instrument/{name}"]
        ids = group["pulse_id"][:].tolist()
        for row, (pulse_id, missing) in enumerate(zip(ids, group["missing_packets"][:], strict=True)):
            truth = sent(pulse_id % 7, len(missing))
            packets = group["data"][row].reshape(truth.shape)
            whole = (packets == truth).all(axis=2)
            assert not packets[~whole].any(), f"pulse {pulse_id} holds pixels that nobody sent"
            assert np.count_nonzero(~whole, axis=1).tolist() == missing.tolist(), f"pulse {pulse_id}"
    (account,) = manifest.sources.values()
    absent = set(range(ids[0], ids[-1] + 1)) - set(ids) if ids else set()
    told = {pulse_id for text in account.missing.ranges for pulse_id in PulseRange.parse(text)}
    assert absent == {pulse_id for pulse_id in told if ids and ids[0] <= pulse_id <= ids[-1]}
    assert account.missing.n == len(told)
    assert account.got == len(ids)
    return ids, manifest


class Bench:
    """A stand with a simulator that sends all the time, and a recorder that is watched."""

    def __init__(self, stand: Stand, chance: random.Random) -> None:
        self.stand = stand
        self.chance = chance
        self.supervisor = stand.run()
        self.next_pulse = 1
        self.simulate()

    def simulate(self) -> None:
        self.simulator = self.stand.simulate("--rate", RATE_HZ, "--bit-depth", 8, "--first", self.next_pulse)
        self.next_pulse += 1_000_000  # of the next one: nobody sends so long
        self.n_simulators = getattr(self, "n_simulators", 0) + 1

    def record(self, i: int) -> None:
        self.final = self.stand.data / f"{i}.h5"
        self.recorder = self.stand.record(self.final.name, "--idle", PATIENCE_S)
        self.wait_for_images(self.chance.randrange(1, 40))

    def wait_for_images(self, n_more: int) -> None:
        n = len(journalled(self.final)) + n_more
        wait_until(
            lambda: len(journalled(self.final)) >= n or not self.recorder.lives,
            lambda: f"{n_more} more images\n{self.stand.logs()}",
        )
        assert self.recorder.lives, self.stand.logs()

    def kill(self, pid: int) -> None:
        """Kill at a random moment between two pulses, or in the middle of one."""
        until = time.monotonic() + self.chance.uniform(0, 2 / RATE_HZ)
        while time.monotonic() < until:
            pass
        os.kill(pid, signal.SIGKILL)

    def recorder_goes_on(self) -> None:
        """Check that the recorder lives, gets data again, and leaves a good file that tells the gap."""
        before = journalled(self.final)
        self.wait_for_images(10)
        newest = journalled(self.final)[-1]
        done = self.recorder.stop()
        ids, manifest = judge(self.final)
        assert set(before) <= set(ids)
        assert ids[-1] >= newest
        assert manifest.closed_by == "recorder"
        assert manifest.reason == "stopped"
        (account,) = manifest.sources.values()
        assert done.code == (1 if account.missing.n else 0), done
        assert not part_of(self.final).exists()

    def service_comes_back(self, role: str) -> None:
        stand = self.stand
        old = stand.service(role)
        assert old is not None
        self.kill(old)
        wait_until(lambda: stand.service(role) not in (None, old), lambda: f"new {role}\n{stand.logs()}")
        assert self.supervisor.lives
        self.recorder_goes_on()


def kill_recorder(bench: Bench) -> None:
    final = bench.final
    bench.kill(bench.recorder.pid)
    assert bench.recorder.wait().code == -signal.SIGKILL
    assert not final.exists()
    written = journalled(final)
    assert written
    assert recover(part_of(final)) == final
    ids, manifest = judge(final)
    assert ids == written
    assert ids == list(range(ids[0], ids[-1] + 1)), "nothing else was hurt"
    assert manifest.closed_by == "recover"
    assert not part_of(final).exists()
    assert not journal_of(part_of(final)).exists()


def kill_simulator(bench: Bench) -> None:
    bench.kill(bench.simulator.pid)
    bench.simulator.wait()
    bench.simulate()
    bench.recorder_goes_on()


def kill_supervisor(bench: Bench) -> None:
    stand = bench.stand
    bench.kill(bench.supervisor.pid)
    bench.supervisor.wait()
    wait_until(
        lambda: stand.service("receive") is None and stand.service("assemble") is None,
        lambda: f"the end of the services {stand.processes()}",
    )
    bench.supervisor = stand.run()
    bench.recorder_goes_on()


KILLS: dict[str, Callable[[Bench], None]] = {
    "supervisor": kill_supervisor,
    "receive": lambda bench: bench.service_comes_back("receive"),
    "assemble": lambda bench: bench.service_comes_back("assemble"),
    "recorder": kill_recorder,
    "simulator": kill_simulator,
}


@pytest.mark.parametrize("seed", range(N_ROUNDS))
def test_killed_at_random(tmp_path, seed):
    chance = random.Random(seed)
    victims = [*VICTIMS, *VICTIMS]
    chance.shuffle(victims)
    with Stand(tmp_path, n_modules=1 + seed % 2, slots=60, detector={"bit_depth": 8}) as stand:
        bench = Bench(stand, chance)
        for i, victim in enumerate(victims):
            bench.record(i)
            print(f"{time.monotonic():.1f} kill {victim}")
            KILLS[victim](bench)
        end_of_all(bench, len(victims))


def end_of_all(bench: Bench, i: int) -> None:
    """Kill everything at once: no memory is left, and the same configuration starts and works again."""
    stand = bench.stand
    bench.record(i)
    assert stand.memory(), "the test would see nothing"
    pids = [*stand.processes(), bench.simulator.pid]
    bench.chance.shuffle(pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for program in (bench.supervisor, bench.recorder, bench.simulator):
        program.wait()
    wait_until(lambda: not stand.processes(), lambda: f"the end of {stand.processes()}")
    assert stand.memory() == []
    with pytest.raises(RingError, match="Start the service"):
        SharedRing.attach(stand.name, stand.runtime_dir)

    supervisor = stand.run()
    bench.simulate()
    done = stand.record("again.h5", "--images", 20).wait()
    assert done.code == 0, done
    done = stand.forebay("check", stand.data / "again.h5")
    assert done.code == 0, done
    done = stand.forebay("recover", part_of(bench.final))
    assert done.code == 0, done
    judge(bench.final)
    assert supervisor.stop().code == 0, supervisor
    assert not stand.processes()
    assert stand.memory() == []
    judge_all(stand.data, i)


def judge_all(data: Path, n_before: int) -> None:
    """Every file that was ever finished is still there and readable."""
    assert {path.name for path in data.iterdir()} == {"again.h5", *(f"{i}.h5" for i in range(n_before + 1))}
    for path in data.iterdir():
        assert check_file(path, skip=DECLARED, every=10).is_good


@pytest.mark.parametrize("role", ["receive", "assemble"])
def test_a_service_that_is_asked_to_stop_comes_back(tmp_path, role):
    """Somebody stops one service by itself: the recording goes on with the next one of its kind."""
    with Stand(tmp_path, slots=60, detector={"bit_depth": 8}) as stand:
        bench = Bench(stand, random.Random(role))
        bench.record(0)
        old = stand.service(role)
        assert old is not None
        os.kill(old, signal.SIGTERM)
        wait_until(lambda: stand.service(role) not in (None, old), lambda: f"new {role}\n{stand.logs()}")
        bench.recorder_goes_on()


def test_a_killed_demonstration_takes_its_services_along(tmp_path):
    words = command("demo", "--directory", tmp_path / "demo", "--pulses", 2000)
    log, mine = tmp_path / "demo" / "services.log", str(tmp_path / "demo" / "forebay.yaml")

    def services() -> list[str]:
        return [words for words in command_lines().values() if mine in words]

    demo = Program(words, tmp_path / "log")
    try:
        wait_until(lambda: log.exists() and "all services are ready" in log.read_text(), lambda: f"{demo}")
        assert len(services()) > 3
    finally:
        demo.kill()
    wait_until(lambda: not services(), lambda: f"the end of {services()}")


STOPS = """
import os, signal, threading
from forebay.service.process import stop_on_signal
for _ in range(300):
    with stop_on_signal() as stop:
        threading.Timer(0.0005, os.kill, (os.getpid(), signal.SIGTERM)).start()
        while not stop.wait(0):
            pass
"""


def test_a_signal_in_the_middle_of_a_wait_stops(tmp_path):
    """A signal may come at any instruction of the very thread that waits for the stop."""
    done = Program([sys.executable, "-c", STOPS], tmp_path / "stop").wait()
    assert done.code == 0, done
