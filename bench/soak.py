"""Memory of every process over a long run: it must be flat.

    python bench/soak.py [--quick] [--minutes 10]

Starts the services, a simulated 2-module EIGER at 200 Hz and one recording as real processes, and samples
their resident memory (without the ring, which is shared and of fixed size).
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import yaml

N_MODULES = 2
RATE_HZ = 200


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1]) // 2 * 2


def own_memory(process: psutil.Process) -> float:
    """Return private resident memory, MB."""
    return float(process.memory_full_info().uss) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    seconds = 20.0 if options.quick else 60 * options.minutes
    forebay = [sys.executable, "-m", "forebay"]
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        config = Path(directory) / "soak.yaml"
        detector = {"type": "eiger", "bit_depth": 8, "n_modules": N_MODULES, "start_udp_port": port}
        value = {
            "detectors": {"SOAK": detector},
            "record": {"directory": directory},
            "workers": {"record": 0, "retrieve": 0},
            "runtime_dir": f"{directory}/run",
            "state_dir": f"{directory}/state",
        }
        config.write_text(yaml.safe_dump(value))
        services = subprocess.Popen([*forebay, "run", str(config)], stderr=subprocess.DEVNULL)
        while len(psutil.Process(services.pid).children()) < 2:
            time.sleep(0.1)
        time.sleep(2)
        sim = [
            *forebay,
            "sim",
            "detector",
            "--type",
            "eiger",
            "--bit-depth",
            "8",
            "--modules",
            str(N_MODULES),
        ]
        sim += ["--port", str(port), "--rate", str(RATE_HZ), "--pattern", "ramp", "--fault", "loss=0.0001"]
        record = [*forebay, "record", "SOAK", "soak.h5", "--config", str(config), "--json", "--direct"]
        recorder = subprocess.Popen(record, stdout=subprocess.PIPE, text=True)
        simulator = subprocess.Popen(sim, stdout=subprocess.DEVNULL)
        processes = {
            "supervisor": psutil.Process(services.pid),
            "recorder": psutil.Process(recorder.pid),
            "simulator": psutil.Process(simulator.pid),
        }
        for child in psutil.Process(services.pid).children():
            processes[child.cmdline()[4]] = child
        samples: dict[str, list[float]] = {name: [] for name in processes}
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            time.sleep(seconds / 60)
            for name, process in processes.items():
                samples[name].append(own_memory(process))
        simulator.send_signal(signal.SIGTERM)
        simulator.wait()
        recorder.send_signal(signal.SIGTERM)
        manifest = json.loads(recorder.communicate()[0])["manifest"]
        services.send_signal(signal.SIGTERM)
        services.wait()
        n_images = manifest["sources"]["SOAK"]["got"]
        print(f"{seconds:.0f} s, {n_images} images of {N_MODULES} modules recorded, {manifest['reason']}")
        print(
            f"  {'MB of its own':14} {'at 10 %':>8} {'at 50 %':>8} {'at end':>8} {'growth, MB an hour':>20}"
        )
        for name, values in samples.items():
            settled = np.array(values[len(values) // 10 :])
            slope = np.polyfit(np.arange(len(settled)) * seconds / 60, settled, 1)[0] * 3600
            middle = settled[len(settled) // 2]
            print(f"  {name:14} {settled[0]:8.1f} {middle:8.1f} {settled[-1]:8.1f} {slope:20.1f}")


if __name__ == "__main__":
    main()
