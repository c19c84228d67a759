"""How long it takes from the last datagram of a camera's cycle to its readouts at a subscriber.

The assembler is a process of its own, as it is run; sender and subscriber are this one. The limit beside it
is a process that does nothing but count datagrams and then publish as many messages of the same size.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import threading
import time
from contextlib import closing
from ipaddress import ip_address

import zmq

from forebay.assemble.timed import TimedRules
from forebay.service.process import stop_on_signal
from forebay.service.readout import CameraInput, ReadoutAssembler
from forebay.sim.camera import Camera, CameraOptions
from forebay.stream.readouts import ReadoutListener, ReadoutPublisher
from forebay.wire.ssreadout import MESSAGE_A

PACKED = 10
N_MODULES = 32
ORIGINAL_S = 3.5
"""From the newest datagram to publishing in the original: 3.4 to 3.8 s."""
GOAL_S = 0.002


def assemble() -> None:
    """Be the assembler until SIGTERM; print its ports."""
    publisher = ReadoutPublisher("127.0.0.1", "*")
    rules = TimedRules(window_ns=10_000_000, buffer_ns=4_000_000_000)
    assembler = ReadoutAssembler(CameraInput(ip_address("127.0.0.1"), 0, rules=rules), [publisher])
    print(assembler.port, publisher.endpoint.rpartition(":")[2], flush=True)
    with stop_on_signal() as stop:
        assembler.run(stop)


def forward() -> None:
    """Be the limit until SIGTERM: as many messages as there would be readouts, when all datagrams came."""
    message = bytes(MESSAGE_A.itemsize)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port, zmq.Context() as context:
        port.bind(("127.0.0.1", 0))
        publisher = context.socket(zmq.PUB)
        tcp = publisher.bind_to_random_port("tcp://127.0.0.1")
        print(port.getsockname()[1], tcp, flush=True)
        while True:
            for _ in range(N_MODULES):
                port.recv(2048)
            for _ in range(PACKED):
                publisher.send(message)


def measure(kind: str, rate_hz: float, seconds: float) -> list[float]:
    """Return the latency of each cycle, s; the first second does not count."""
    child = subprocess.Popen([sys.executable, __file__, "--child", kind], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    udp, tcp = map(int, child.stdout.readline().split())
    n_cycles = int(seconds * rate_hz / PACKED)
    sent: list[int] = []
    camera = Camera(CameraOptions(port=udp, rate_hz=rate_hz, packed=PACKED))
    arrived: list[int] = []
    with closing(ReadoutListener("127.0.0.1", tcp, hwm=100_000)) as listener, closing(camera):
        time.sleep(0.5)

        def send() -> None:
            origin = time.monotonic()
            for cycle in range(n_cycles):
                time.sleep(max(0.0, origin + cycle * PACKED / rate_hz - time.monotonic()))
                camera.send()
                sent.append(time.monotonic_ns())

        thread = threading.Thread(target=send)
        thread.start()
        end = time.monotonic() + seconds + 10
        while len(arrived) < n_cycles * PACKED and time.monotonic() < end:
            n = len(listener.read(0.2))
            arrived += [time.monotonic_ns()] * n
        thread.join()
    child.kill()
    child.wait()
    child.stdout.close()
    assert len(arrived) == n_cycles * PACKED, f"{len(arrived)} of {n_cycles * PACKED} readouts came"
    found = [(arrived[PACKED * i + PACKED - 1] - at) * 1e-9 for i, at in enumerate(sent)]
    return found[int(rate_hz / PACKED) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    parser.add_argument("--child", choices=("assemble", "forward"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        {"assemble": assemble, "forward": forward}[options.child]()
        return
    rounds, seconds = (2, 3.0) if options.quick else (3, 6.0)
    for rate_hz in (144.0, 1000.0):
        found: dict[str, list[list[float]]] = {"assemble": [], "forward": []}
        for _ in range(rounds):
            for kind, one in found.items():
                one.append(measure(kind, rate_hz, seconds))
        medians = {kind: [statistics.median(one) for one in runs] for kind, runs in found.items()}
        ours = sorted(value for run in found["assemble"] for value in run)
        ratios = sorted(a / b for a, b in zip(medians["assemble"], medians["forward"], strict=True))
        p50, p99 = statistics.median(ours), ours[int(0.99 * len(ours))]
        print(
            f"{rate_hz:5.0f} Hz: last datagram to the last of {PACKED} readouts p50 {1e3 * p50:.2f} ms, "
            f"p99 {1e3 * p99:.2f}, most {1e3 * ours[-1]:.1f}; goal {1e3 * GOAL_S:.0f} ms\n"
            f"          the original's {ORIGINAL_S} s : p50 = {ORIGINAL_S / p50:.0f}; "
            f"p50 : limit = {statistics.median(ratios):.1f} ({ratios[0]:.1f} .. {ratios[-1]:.1f}), "
            f"limit {1e3 * statistics.median(medians['forward']):.2f} ms"
        )


if __name__ == "__main__":
    main()
