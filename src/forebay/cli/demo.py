"""The demonstration: a detector that is not there, everything else real, and a file that proves itself."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from rich.console import Console
from rich.text import Text

from forebay.cli.control import operator_of, see_through
from forebay.cli.picture import save_mean_image
from forebay.cli.show import facts, show_report, size
from forebay.config import Config, load
from forebay.errors import ServiceError
from forebay.job import Job
from forebay.sim.detector import Options
from forebay.sim.faults import Faults
from forebay.sim.truth import Truth
from forebay.store.check import check_file
from forebay.store.left import manifest_of
from forebay.store.manifest import Manifest, pulse_ids
from forebay.store.report import Report
from forebay.wire.jungfrau import jungfrau

DETECTOR = "JUNGFRAU-DEMO"
N_MODULES = 2
FAULTS = ["loss=0.0002", "lost_frame=0.002"]
FIRST_PULSE = 1
READOUT = 0.7
"""Part of the period in which a module sends a frame: gentle enough for the socket buffers of any user."""

READY_S = 60.0
"""The services are ready after so long, or something is wrong."""

PORTS_OF_SENDERS = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""First and last port that the kernel gives to whoever sends without asking for one."""

FIRST_PORT = 5_000
"""Services that the system knows by name are mostly below."""

EXTRA_PULSES = 20
"""Sent beyond the last one recorded: a last pulse is only known to be over when newer ones come."""


def run_demo(directory: Path, n_pulses: int, rate_hz: float) -> int:
    """Run the demonstration and print what happened; return the exit code.

    0 only if the file is whole and the losses it reports are exactly those that were injected.
    """
    console = Console()
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="forebay-demo-") as temporary:
        config = _write_config(directory, Path(temporary))
        path = directory / "forebay.yaml"
        console.print(f"Configuration:          {path}", soft_wrap=True, highlight=False)
        console.print(
            f"What the services say:  {directory / 'services.log'}", soft_wrap=True, highlight=False
        )
        began = time.monotonic()
        with _services(path, directory / "services.log"):
            console.print(
                f"Recording {n_pulses} pulses of {N_MODULES} simulated JUNGFRAU modules at {rate_hz:g} Hz.\n"
                f"The simulator loses packets on purpose: {' '.join(FAULTS)}",
                highlight=False,
            )
            job = _record(config, path, n_pulses, rate_hz)
        file = Path(job.result["file"])
        manifest = manifest_of(file)
        options = _options(config, n_pulses, rate_hz)
        report = check_file(file)
        picture = file.with_suffix(".png")
        n_images = save_mean_image(file, picture)
        is_true = _print_summary(console, file, manifest, report, Truth(options), n_pulses, rate_hz)
        seconds = time.monotonic() - began
        rows = [
            ("job", f"{job.id}: {job.state}, {job.reason}; run {job.run}, acquisition {job.acquisition}"),
            ("picture", f"{picture}, the mean of {n_images} images"),
            ("took", f"{seconds:.1f} s"),
        ]
        console.print(facts("", rows), soft_wrap=True)
        console.print(_how_to_open(file), soft_wrap=True)
    return 0 if is_true else 1


def _write_config(directory: Path, runtime_dir: Path) -> Config:
    """Write the configuration of the demonstration and read it back."""
    value = {
        "detectors": {
            DETECTOR: {
                "type": "jungfrau",
                "n_modules": N_MODULES,
                "start_udp_port": _free_ports(N_MODULES),
                "ring": {"slots": 128},
                "build": {"deadline_s": 0.5},
            }
        },
        "record": {"directory": str(directory.resolve()), "min_free_bytes": 2**29},
        "runtime_dir": str(runtime_dir),
        "state_dir": str(runtime_dir / "state"),
    }
    path = directory / "forebay.yaml"
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    return load(path)


def _free_ports(n_ports: int) -> int:
    """Return the first of some neighbouring UDP ports that nobody uses."""
    for start in candidate_ports(n_ports):
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(n_ports)]
        try:
            for i, one in enumerate(sockets):
                one.bind(("127.0.0.1", start + i))
        except OSError:
            continue
        else:
            return start
        finally:
            for one in sockets:
                one.close()
    raise ServiceError(f"No {n_ports} neighbouring UDP ports are free.", "See what uses them: ss -ulpn")


def candidate_ports(n_ports: int) -> list[int]:
    """Return where `n_ports` neighbours may begin, in any order; those that a sender may get come last."""
    first, last = (int(word) for word in PORTS_OF_SENDERS.read_text(encoding="ascii").split())
    starts = range(FIRST_PORT, 2**16 - n_ports + 1)
    shuffled = random.sample(starts, len(starts))
    return sorted(shuffled, key=lambda start: first - n_ports < start <= last)


@contextmanager
def _services(config: Path, log: Path) -> Iterator[None]:
    """Run ``forebay run`` beside the body."""
    with log.open("w", encoding="utf-8") as stream:
        command = [sys.executable, "-m", "forebay", "run", str(config), "--parent", str(os.getpid())]
        process = subprocess.Popen(command, stderr=stream, stdin=subprocess.DEVNULL)
        try:
            _wait_ready(process, log)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if process.returncode:
        raise ServiceError(f"The services ended with exit code {process.returncode}.", f"See {log}.")


def _wait_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once every service is ready; `ServiceError` if they end before, or take too long."""
    end = time.monotonic() + READY_S
    while "all services are ready" not in log.read_text(encoding="utf-8"):
        if process.poll() is not None or time.monotonic() > end:
            raise ServiceError(f"The services were not ready within {READY_S:g} s.", f"See {log}.")
        time.sleep(0.05)


def _options(config: Config, n_pulses: int, rate_hz: float) -> Options:
    detector = config.detectors[DETECTOR]
    return Options(
        layout=jungfrau(),
        n_modules=N_MODULES,
        start_udp_port=detector.start_udp_port,
        rate_hz=rate_hz,
        first_pulse=FIRST_PULSE,
        count=n_pulses + EXTRA_PULSES,
        pattern="picture",
        faults=Faults.parse(FAULTS),
    )


def _record(config: Config, path: Path, n_pulses: int, rate_hz: float) -> Job:
    """Ask for a recording as anybody would, start the simulator, and return the job when it has ended."""
    pulses = f"{FIRST_PULSE}..{FIRST_PULSE + n_pulses - 1}"
    file = _free_name(config.record.directory)
    asked = {"sources": [DETECTOR], "file": file, "pulses": pulses, "idle_s": READY_S}
    detector = config.detectors[DETECTOR]
    command = [sys.executable, "-m", "forebay", "sim", "detector", "--modules", str(N_MODULES)]
    command += ["--port", str(detector.start_udp_port), "--rate", str(rate_hz), "--first", str(FIRST_PULSE)]
    command += ["--count", str(n_pulses + EXTRA_PULSES), "--pattern", "picture"]
    command += ["--readout-ms", str(1000 * READOUT / rate_hz)]
    command += [word for fault in FAULTS for word in ("--fault", fault)]
    with operator_of(path) as operator:
        jobs = operator.request("record", asked)
        simulator = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        try:
            (job,) = see_through(operator, jobs, quiet=False)
        finally:
            simulator.terminate()
            simulator.wait()
    if "file" not in job.result:
        raise ServiceError(f"Nothing was recorded: job {job.id} is {job.state}. {job.reason}")
    return job


def _free_name(directory: Path) -> str:
    """Return the first of demo-001.h5, demo-002.h5 ... that does not exist."""
    taken = {path.name.split(".")[0] for path in directory.iterdir()}
    return next(name for i in range(1, 10**6) if (name := f"demo-{i:03}") not in taken) + ".h5"


def _print_summary(
    console: Console,
    file: Path,
    manifest: Manifest,
    report: Report,
    truth: Truth,
    n_pulses: int,
    rate_hz: float,
) -> bool:
    """Print the account; return whether the file is whole and tells just what was injected."""
    (source,) = manifest.sources.values()
    flagged = {one.pulse_id: one.missing_packets for one in source.incomplete}
    nothing = {str(i): jungfrau().packets_per_frame for i in range(N_MODULES)}
    flagged |= {int(pulse_id): nothing for pulse_id in pulse_ids(source.missing)}
    injected: dict[int, dict[str, int]] = {}
    for beat, missing in zip(truth.beats[:n_pulses], truth.missing(), strict=False):
        if missing.any():
            injected[beat.pulse_id] = {str(i): int(n) for i, n in enumerate(missing) if n}
    grown = manifest.counters.difference.receiver.values()
    packets = sum(port["received"] for port in grown)
    dropped = sum(port["kernel_drop"] + port["late"] for port in grown)
    is_whole = all(problem.severity != "problem" for problem in report.problems)
    excess = _sum(flagged) - _sum(injected)
    tells_injected = all(
        flagged.get(pulse_id, {}).get(module, 0) >= n
        for pulse_id, missing in injected.items()
        for module, n in missing.items()
    )
    is_true = is_whole and tells_injected and 0 <= excess <= dropped
    show_report(console, report, most=5)
    stored = file.stat().st_size
    pixels = source.got * N_MODULES * jungfrau().frame_bytes
    rows = [
        ("packets", f"{packets} received, {dropped} dropped by the kernel or too late"),
        ("injected", f"{_sum(injected)} packets lost in {len(injected)} of {n_pulses} pulses"),
        (
            "flagged",
            f"{_sum(flagged)} packets in {len(flagged)} pulses",
        ),
        ("images", f"{source.got}, {size(pixels)} of pixels, {size(pixels * rate_hz / n_pulses)}/s"),
        ("file", f"{file}, {size(stored)}: compressed {pixels / stored:.2f} times"),
    ]
    console.print(facts("\nSummary", rows), soft_wrap=True)
    if is_true and not excess:
        verdict, style = (
            "The losses that were injected, and only they, are reported, pulse by pulse.",
            "green",
        )
    elif is_true:
        verdict = (
            f"The losses that were injected are reported, pulse by pulse, and {excess} packets that this "
            "machine dropped, or sent too late, because it is busy. forebay doctor says how to tune it."
        )
        style = "yellow"
    else:
        verdict, style = f"The file does not tell what was injected; services.log is beside {file}.", "red"
    console.print(Text(verdict, style=style))
    return is_true


def _sum(lost: dict[int, dict[str, int]]) -> int:
    """Return how many packets of all pulses and modules."""
    return sum(n for missing in lost.values() for n in missing.values())


def _how_to_open(file: Path) -> str:
    viewer = "silx view" if shutil.which("silx") else "h5web, silx view or HDFView"
    return (
        f"Open it: {viewer}, or in Python:\n"
        "  import h5py, hdf5plugin\n"
        f"  images = h5py.File({str(file)!r})['/entry/data/data']"
    )
