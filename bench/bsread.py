"""CPU time of a bsread message, received and decoded or made and sent, against psi-bsread.

Each measurement is a process of its own at the end of a ZeroMQ connection on loopback; the two
implementations take turns. psi-bsread is looked for in this interpreter, or in the one that
FOREBAY_PSI_BSREAD_PYTHON names; without it only forebay is measured.

Reading means that every value and its time is asked for. Sending means values given as a dictionary,
channels announced once. The last lines are forebay only: reading the headers and no value, as a
buffer does, and decoding many messages channel by channel, as a file is written.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

PSI = os.environ.get("FOREBAY_PSI_BSREAD_PYTHON", sys.executable)
QUEUE = 4  # short, so that sending and receiving happen while they are timed
TIME_NS = 1_700_000_000_123_456_789
CASES = {
    "100 float64 scalars": ("scalars", None, 2000),
    "camera 1280x1024 uint16": ("camera", None, 200),
    "camera, bitshuffle_lz4": ("camera", "bitshuffle_lz4", 200),
}


def values(content):
    random = np.random.default_rng(1)
    if content == "scalars":
        return {f"SCALAR-CH:{i:03}": float(x) for i, x in enumerate(random.normal(size=100))}
    return {"CAM:FPICTURE": random.poisson(10, (1024, 1280)).astype("u2")}


def receive_forebay(port, content, _compression, n):
    import zmq

    from forebay.wire.bsread import HeaderCache, decode

    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.rcvhwm = QUEUE
        socket.connect(f"tcp://127.0.0.1:{port}")
        cache = HeaderCache()

        def one():
            if content == "scalars":
                parts = socket.recv_multipart()
            else:
                parts = [frame.buffer for frame in socket.recv_multipart(copy=False)]
            arrays = decode(parts, cache).arrays
            return [(arrays[name], arrays.timestamp_ns(name)) for name in arrays]

        one()
        return timed(one, n)


def receive_psi(port, content, _compression, n):
    from bsread import PULL, Source

    with Source(
        host="127.0.0.1", port=port, mode=PULL, queue_size=QUEUE, copy=content == "scalars"
    ) as source:
        source.receive()
        return timed(source.receive, n)


def send_forebay(port, content, compression, n):
    import zmq

    from forebay.wire.bsread import announce, describe, message

    data = values(content)
    header = announce([describe(name, value, compression) for name, value in data.items()])
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.sndhwm = QUEUE
        socket.connect(f"tcp://127.0.0.1:{port}")

        def one():
            *frames, last = message(header, 1, TIME_NS, data)
            for frame in frames:
                socket.send(frame, zmq.SNDMORE, copy=len(frame) < 65_536)
            socket.send(last)

        one()
        return timed(one, n)


def send_psi(port, content, compression, n):
    from bsread import CONNECT, PUSH, Sender

    data = values(content)
    sender = Sender(
        port=port,
        address="tcp://127.0.0.1",
        conn_type=CONNECT,
        mode=PUSH,
        data_compression=compression,
        queue_size=QUEUE,
        copy=content == "scalars",
    )
    sender.open()

    def one():
        sender.send(data=data, timestamp=divmod(TIME_NS, 10**9), pulse_id=1, check_data=False)

    sender.send(data=data, timestamp=divmod(TIME_NS, 10**9), pulse_id=1)
    result = timed(one, n)
    sender.close()
    return result


def timed(one, n):
    """Return CPU seconds of one call, all threads of the process counted."""
    start = time.process_time()
    for _ in range(n):
        one()
    return (time.process_time() - start) / n


def measure(what, who, content, compression, n):
    """Run one child and be its other end."""
    import zmq

    from forebay.wire.bsread import announce, describe, message

    python = PSI if who == "psi" else sys.executable
    with zmq.Context() as context, context.socket(zmq.PUSH if what == "receive" else zmq.PULL) as socket:
        socket.linger = 0
        socket.sndtimeo = socket.rcvtimeo = 60_000
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        data = values(content)
        header = announce([describe(name, value, compression) for name, value in data.items()])
        parts = [bytes(frame) for frame in message(header, 1, TIME_NS, data)]
        child = subprocess.Popen(  # -P: this file is called as the package that it imports
            [python, "-P", __file__, "--child", json.dumps([what, who, port, content, compression, n])],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        for _ in range(n + 1):
            if what == "receive":
                socket.send_multipart(parts, copy=content == "scalars")
            else:
                socket.recv_multipart(copy=False)
        out, _ = child.communicate(timeout=60)
        return float(out)


def alone(repeats):
    """Print what the codec costs where no network is in between."""
    from forebay.wire.bsread import (
        HeaderCache,
        announce,
        decode,
        decode_times,
        decode_values,
        describe,
        message,
    )

    data = values("scalars")
    header = announce([describe(name, value) for name, value in data.items()])
    parts = message(header, 1, TIME_NS, data)
    lazy, rows = [], []
    for _ in range(repeats * 5):
        cache = HeaderCache()
        start = time.process_time()
        arrays = [decode(parts, cache).arrays for _ in range(1000)]
        lazy.append((time.process_time() - start) * 1e6 / len(arrays))
        start = time.process_time()
        for name, channel in zip(header.positions, header.channels, strict=True):
            decode_values(channel, [a.frame(name) for a in arrays])
            decode_times(channel, [a.timestamp_frame(name) for a in arrays])
        rows.append((time.process_time() - start) * 1e6 / (len(arrays) * len(data)))
    print(f"100 scalars, decoded to forward or store: CPU us a message {spread(lazy)}")
    print(f"the same as blocks of 1000 rows, values and times: CPU s a million values {spread(rows, 2)}")


def spread(numbers, digits=1):
    low, middle, high = (f"{x:.{digits}f}" for x in (min(numbers), statistics.median(numbers), max(numbers)))
    return f"{middle:>7} ({low}..{high})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages, two turns")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, who, *arguments = json.loads(options.child)
        print(globals()[f"{what}_{who}"](*arguments))
        return
    repeats = 2 if options.quick else 5
    has_psi = subprocess.run([PSI, "-c", "import bsread"], capture_output=True, check=False).returncode == 0
    print(
        "CPU us a message, median (min..max) of", repeats, "turns" if has_psi else "turns; no psi-bsread here"
    )
    for case, (content, compression, n) in CASES.items():
        for what in ("receive", "send"):
            found = {who: [] for who in (("forebay", "psi") if has_psi else ("forebay",))}
            for _ in range(repeats):
                for who, list_of in found.items():
                    list_of.append(
                        1e6 * measure(what, who, content, compression, n // 10 if options.quick else n)
                    )
            line = f"{case:26} {what:8} forebay {spread(found['forebay'])}"
            if has_psi:
                ratios = [b / a for a, b in zip(found["forebay"], found["psi"], strict=True)]
                line += f"   psi-bsread {spread(found['psi'])}   ratio {spread(ratios)}"
            print(line, flush=True)
    alone(repeats)


if __name__ == "__main__":
    main()
