"""psi-bsread in a process of its own: the test of the codec starts it, and only it imports bsread.

Nothing else may: its dependency bitshuffle replaces the HDF5 filter of hdf5plugin.
"""

import json
import sys

import numpy as np

TIME = (1_700_000_000, 123_456_789)
COMPRESSIONS = [None, "none", "lz4", "bitshuffle_lz4"]
NUMBERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def messages(compression=None):
    """Return the values of each message, by channel; made the same in both processes.

    psi-bsread cannot compress arrays that are not contiguous.
    """
    random = np.random.default_rng(1)
    pixels = np.add.outer(np.arange(480), np.arange(640)) + random.normal(100, 5, (480, 640))
    made = [
        {"INT": -3, "FLOAT": 2.5, "TRUE": True, "FALSE": False, "TEXT": "Zürich µm π 日本", "NONE": None},
        {
            "INF": float("inf"),
            "MIN": -(2**63),
            "EMPTY": "",
            "NOTHING": np.zeros(0),
            "LONG": "x" * 5000,
            "é": 1,
        },
        {f"NP_{kind}": np.dtype(kind).type(100) for kind in NUMBERS} | {"NP_BOOL": np.bool_(True)},
        {"LIST": [1, 2, 3], "NESTED": [[1.5, 2], [3, 4]], "BOOLS": [True, False], "COMES": None},
        {"COMES": 1, "ROW": np.ones((1, 5), "f4"), "COLUMN": np.ones((5, 1), "f4"), "ONE": np.array([7])},
        {"CAMERA:FPICTURE": pixels.astype("u2"), "CUBE": np.arange(24, dtype="i4").reshape(2, 3, 4)},
        {f"S{i:03}": float(x) for i, x in enumerate(random.normal(size=100))},
    ]
    if compression in (None, "none"):
        made.append({"STRIDED": np.arange(20)[::3], "FORTRAN": np.asfortranarray(pixels[:7, :9])})
    for kind in NUMBERS:
        for order in "<>":
            dtype = np.dtype(kind).newbyteorder(order)
            counts = (random.random(3001) * 100).astype(dtype)
            made.append({f"{order}{kind}_{n}": counts[:n] for n in (1, 7, 8, 9, 130, 3001)})
    for scale in (1, 50, 20_000):
        made.append({f"NOISE_{n}": random.normal(0, scale, n).astype("i4") for n in range(8, 400, 56)})
    return made


def send(ports):
    """Send all messages, once for each compression of values and header, to the port of each."""
    from bsread import CONNECT, PUSH, Sender

    for port, compression in zip(ports, COMPRESSIONS, strict=True):
        sender = Sender(
            port=int(port),
            address="tcp://127.0.0.1",
            conn_type=CONNECT,
            mode=PUSH,
            queue_size=1000,
            data_compression=compression,
            data_header_compression=compression,
        )
        sender.open()
        for pulse_id, values in enumerate(messages(compression)):
            sender.send(data=values, timestamp=TIME, pulse_id=pulse_id)
        sender.close()


def receive(port, n):
    """Receive `n` messages and print what was decoded, one JSON line each."""
    from bsread import PULL, Source

    with Source(host="127.0.0.1", port=int(port), mode=PULL, receive_timeout=20_000) as source:
        for _ in range(int(n)):
            data = source.receive().data
            values = {
                name: [plain(v.value), v.timestamp, v.timestamp_offset] for name, v in data.data.items()
            }
            line = [data.pulse_id, data.global_timestamp, data.global_timestamp_offset, values]
            print(json.dumps(line, default=int))


def plain(value):
    if isinstance(value, np.generic | np.ndarray):
        return [value.dtype.newbyteorder("=").name, list(value.shape), value.tolist()]
    return value


if __name__ == "__main__":
    {"send": lambda *ports: send(ports), "receive": receive}[sys.argv[1]](*sys.argv[2:])
