"""From the socket to a compressed, synced file: the whole chain as real processes.

    python bench/chain.py [--quick]

A simulated JUNGFRAU sends as fast as it can into a ring that holds the whole run; the clock runs from the
first packet to the file in its place. The limits are measured in the same run: the encoder on as many
threads, and the disk writing and syncing as many bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import yaml

from forebay.sim.pattern import pattern
from forebay.wire.compress import compress
from forebay.wire.jungfrau import jungfrau

FOREBAY = [sys.executable, "-m", "forebay"]
LAYOUT = jungfrau()
PREDECESSORS = (
    "figures of older systems on one such machine: std_det_writer 1.05-1.33 GB/s (memory file system, not "
    "compressed), sf_writer 0.73-1.4 GB/s (not compressed), SSDAQ and sf_bsread_writer below 0.2 GB/s"
)


def free_port(n_modules: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1]) - n_modules


def run_chain(directory: Path, n_modules: int, n_pulses: int, threads: int, name: str) -> dict[str, float]:
    """Record one run; return images, seconds and CPU seconds by process."""
    port = free_port(n_modules)
    detector = {"type": "jungfrau", "n_modules": n_modules, "start_udp_port": port}
    detector |= {"ring": {"slots": n_pulses + 64}, "receive_buffer_bytes": 2**28, "build": {"patience": 64}}
    config = directory / f"{name}.yaml"
    value = {
        "detectors": {"BENCH": detector},
        "record": {"directory": str(directory), "threads": threads},
        "workers": {"record": 0, "retrieve": 0},
        "runtime_dir": str(directory / "run"),
        "state_dir": str(directory / "state"),
    }
    config.write_text(yaml.safe_dump(value))
    log = (directory / "services.log").open("w")
    services = subprocess.Popen([*FOREBAY, "run", str(config)], stderr=log)
    try:
        while "all services are ready" not in (directory / "services.log").read_text():
            assert services.poll() is None
            time.sleep(0.05)
        children = {c.cmdline()[4]: c for c in psutil.Process(services.pid).children()}
        before = {role: sum(child.cpu_times()[:2]) for role, child in children.items()}
        record = [*FOREBAY, "record", "BENCH", f"{name}.h5", "-c", str(config), "--json", "--direct"]
        record += ["--pulses", f"1..{n_pulses}", "--idle", "20"]
        recorder = subprocess.Popen(record, stdout=subprocess.PIPE, text=True)
        while not (directory / f"{name}.h5.part").exists():
            time.sleep(0.02)
        sim = [*FOREBAY, "sim", "detector", "--modules", str(n_modules), "--port", str(port), "--rate", "0"]
        simulator = subprocess.Popen(
            [*sim, "--count", str(n_pulses)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        handle = psutil.Process(recorder.pid)
        cpu = {}
        assert recorder.stdout is not None
        while recorder.poll() is None:
            try:
                cpu["record"] = sum(handle.cpu_times()[:2])
            except psutil.Error:
                break
            time.sleep(0.02)
        out = recorder.stdout.read()
        ended = (directory / f"{name}.h5").stat().st_ctime
        simulator.wait()
        cpu |= {role: sum(child.cpu_times()[:2]) - before[role] for role, child in children.items()}
    finally:
        services.send_signal(signal.SIGTERM)
        services.wait()
    manifest = json.loads(out)["manifest"]
    source = manifest["sources"]["BENCH"]
    ports = manifest["counters"]["difference"]["receiver"].values()
    import h5py

    with h5py.File(directory / f"{name}.h5") as file:
        first = int(file["/entry/instrument/BENCH/time_ns"][0])
    (directory / f"{name}.h5").unlink()
    return {
        "images": source["got"],
        "incomplete": source["n_incomplete"],
        "kernel_drop": sum(one["kernel_drop"] for one in ports),
        "seconds": ended - first * 1e-9,
        **{f"cpu {role}": value for role, value in cpu.items()},
    }


def limits(directory: Path, n_modules: int, threads: int) -> tuple[float, float]:
    """Return GB/s of pixels that the encoder and the disk can do."""
    shape = (n_modules * LAYOUT.frame_shape[0], LAYOUT.frame_shape[1])
    image = np.concatenate([pattern("noise", LAYOUT, 0, m) for m in range(n_modules)]).reshape(shape)
    n_images = max(8, 256 // n_modules)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(compress, [image] * threads))
        began = time.monotonic()
        chunks = list(pool.map(compress, [image] * n_images))
        encoder = n_images * image.nbytes / (time.monotonic() - began)
    path = directory / "limit"
    began = time.monotonic()
    with path.open("wb") as file:
        for chunk in chunks * 3:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    disk = 3 * n_images * image.nbytes / (time.monotonic() - began)
    path.unlink()
    return encoder / 1e9, disk / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rounds = 2 if options.quick else 5
    cases = [(1, 600), (2, 300)] if options.quick else [(1, 2000), (2, 1000), (4, 500), (8, 250)]
    with tempfile.TemporaryDirectory(dir=".") as temporary:
        directory = Path(temporary).resolve()
        (directory / "run").mkdir(mode=0o700)
        for n_modules, n_pulses in cases:
            for threads in (1, 2):
                runs, bounds = [], []
                for i in range(rounds):
                    bounds.append(limits(directory, n_modules, threads))
                    runs.append(
                        run_chain(directory, n_modules, n_pulses, threads, f"b{n_modules}-{threads}-{i}")
                    )
                image_bytes = n_modules * LAYOUT.frame_bytes
                rates = [run["images"] * image_bytes / run["seconds"] / 1e9 for run in runs]
                ratios = [rate / min(bound) for rate, bound in zip(rates, bounds, strict=True)]
                rate = statistics.median(rates)
                encoder, disk = (statistics.median(bound[k] for bound in bounds) for k in (0, 1))
                print(
                    f"{n_modules} modules, {threads} threads: {rate * 1e9 / image_bytes:6.0f} images/s, "
                    f"{rate:.2f} GB/s ({min(rates):.2f}-{max(rates):.2f}); encoder {encoder:.2f}, "
                    f"disk {disk:.2f} GB/s of pixels; ratio to the smaller {statistics.median(ratios):.2f} "
                    f"({min(ratios):.2f}-{max(ratios):.2f})"
                )
                n_bytes = sum(run["images"] for run in runs) * image_bytes / 1e9
                roles = [key for key in runs[0] if key.startswith("cpu")]
                costs = ", ".join(f"{r[4:]} {sum(run[r] for run in runs) / n_bytes:.2f}" for r in roles)
                hurt = {key: sum(run[key] for run in runs) for key in ("incomplete", "kernel_drop")}
                print(f"    CPU s/GB: {costs}; {hurt}")
        print(PREDECESSORS)


if __name__ == "__main__":
    main()
