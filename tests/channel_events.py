"""Events of a stream of channels, as messages of bsread that were sent and received."""

import h5py
import hdf5plugin  # noqa: F401 - registers the filter of images
import numpy as np

from forebay.store.channel_file import ChannelFile
from forebay.store.channel_manifest import ChannelRecording
from forebay.wire.bsread import Channel, HeaderCache, announce, decode, describe, message

T0 = 1_700_000_000_000_000_000
PERIOD_NS = 10_000_000


def time_of(pulse_id):
    return T0 + pulse_id * PERIOD_NS


def announced(values, compression=None):
    """Return the header of these values; those named ...:FPICTURE are compressed."""
    return announce(
        [
            value
            if isinstance(value, Channel)
            else describe(name, value, "bitshuffle_lz4" if name.endswith("FPICTURE") else compression)
            for name, value in values.items()
        ]
    )


def event(pulse_id, values, header=None, times=None, cache=None):
    """Return the event of a message with these values; the header is made of them unless given."""
    header = header or announced(values)
    parts = message(header, pulse_id, time_of(pulse_id), values, times)
    return decode([bytes(part) for part in parts], cache or HeaderCache(), source="stream")


def write(path, events, reason="last pulse", size=10, **recording):
    """Write a file, `size` events at a time, and return its manifest."""
    file = ChannelFile(path, ChannelRecording("stream", **recording))
    for i in range(0, len(events), size):
        file.write(events[i : i + size])
    file.conclude(reason)
    file.close()
    return file.manifest


def channels_of(path):
    """Return the channels of a file by the rule of SwissFEL's readers: groups with data and pulse_id."""
    found = {}
    with h5py.File(path) as file:
        root = file.get("data", file)
        for name, group in root.items():
            if isinstance(group, h5py.Group) and "data" in group and "pulse_id" in group:
                found[name] = {column: group[column][...] for column in group}
    return found


def tree_of(path):
    """Return shape, type, chunks and filters of every dataset, and None for every group, by path."""
    with h5py.File(path) as file:
        tree = {}

        def visit(name, found):
            tree[name] = None
            if isinstance(found, h5py.Dataset):
                filters = dict(found._filters)
                tree[name] = (found.shape, found.dtype, found.chunks, filters)

        file.visititems(visit)
        return tree


def image(pulse_id, shape=(48, 64)):
    return np.random.default_rng(pulse_id).integers(0, 4000, shape).astype(np.uint16)
