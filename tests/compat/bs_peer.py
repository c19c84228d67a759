"""psi-bsread as the source before our buffer and as the receiver behind it, in a process of its own.

Only this file imports bsread, in a process of its own; `bsread_peer.py` says why.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np

spec = importlib.util.spec_from_file_location("bsread_peer", Path(__file__).parent / "bsread_peer.py")
peer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peer)

N_SCALARS, N_WAVEFORMS = 100, 5
SHAPE = (1024, 1280)


def run_values(pulse_id):
    """Return what the source of the long run sends for a pulse; made the same in both processes."""
    image = np.arange(SHAPE[0] * SHAPE[1], dtype="u2").reshape(SHAPE) + np.uint16(pulse_id)
    return (
        {f"S{i:03}": float(pulse_id + i / 7) for i in range(N_SCALARS)}
        | {f"W{i}": np.arange(100) * pulse_id + i for i in range(N_WAVEFORMS)}
        | {"TEXT": f"puls {pulse_id} é", "STATE": "open" if pulse_id % 2 else "closed"}
        | {"CAM:FPICTURE": image}
    )


def send(port, compression):
    """Bind as sources do and send all messages of `bsread_peer`."""
    from bsread import BIND, PUSH, Sender

    compression = None if compression == "None" else compression
    sender = Sender(
        port=int(port),
        address="tcp://127.0.0.1",
        conn_type=BIND,
        mode=PUSH,
        queue_size=1000,
        data_compression=compression,
        data_header_compression=compression,
    )
    sender.open()
    for pulse_id, values in enumerate(peer.messages(compression)):
        sender.send(data=values, timestamp=peer.TIME, pulse_id=pulse_id)
    sys.stdin.read()  # until everything has been taken
    sender.close()


def run(port, n, rate):
    """Bind and send `n` pulses at `rate` Hz."""
    from bsread import BIND, PUSH, Sender

    sender = Sender(port=int(port), address="tcp://127.0.0.1", conn_type=BIND, mode=PUSH, queue_size=10)
    sender.open()
    begun = time.monotonic()
    for pulse_id in range(int(n)):
        sender.send(
            data=run_values(pulse_id), pulse_id=pulse_id, timestamp=time.time(), check_data=pulse_id == 0
        )
        time.sleep(max(0.0, begun + (pulse_id + 1) / float(rate) - time.monotonic()))
    sender.close()


def receive(port, n, mode):
    """Receive `n` messages and print what was decoded, one JSON line each."""
    from bsread import PULL, SUB, Source

    kind = {"pull": PULL, "sub": SUB}[mode]
    with Source(host="127.0.0.1", port=int(port), mode=kind, receive_timeout=20_000) as source:
        for _ in range(int(n)):
            data = source.receive().data
            values = {
                name: [peer.plain(v.value), v.timestamp, v.timestamp_offset] for name, v in data.data.items()
            }
            line = [data.pulse_id, data.global_timestamp, data.global_timestamp_offset, values]
            print(json.dumps(line, default=int), flush=True)


if __name__ == "__main__":
    {"send": send, "run": run, "receive": receive}[sys.argv[1]](*sys.argv[2:])
