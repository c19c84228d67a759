"""Points of process variables into a file, a whole variable at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError
from forebay.event import Array
from forebay.store import manifest as m
from forebay.store.channel_layout import Definition, layout_of
from forebay.store.channel_manifest import ChannelManifest, ChannelRecording
from forebay.store.channel_tree import ChannelTree
from forebay.store.paths import check_free, explain, link_in_place, part_of, sync
from forebay.wire.pv_points import PvPoints


def write_points(
    path: Path, recording: ChannelRecording, points: Iterable[PvPoints], reason: str = "retrieved"
) -> ChannelManifest:
    """Write the points of process variables to a file of the layout ``pvdata`` and return its manifest.

    The file appears under its name whole, or not. It has no journal: what was retrieved once can be
    retrieved again.

    Parameters
    ----------
    path:
        The final name; nothing may exist there.
    points:
        Each variable once. Values of different shapes go to groups of their own. Points that are not
        connected have the value 0 or "". A pulse id that is not known is written as 0.

    Raises
    ------
    ConfigError
        If the layout is not one of values that come as they change.
    StoreError
        If the file cannot be written.
    """
    if not layout_of(recording.layout).is_event_driven:
        raise ConfigError(f"Points cannot be written in the layout {recording.layout}.", "Take pvdata.")
    check_free(path)
    if not recording.start_time:
        recording = msgspec.structs.replace(recording, start_time=m.now())
    part = part_of(path)
    try:
        manifest = _fill(part, recording, points, reason)
        link_in_place(part, path)
    except (OSError, RuntimeError) as error:
        raise explain(error, f"Cannot write {path}") from error
    finally:
        part.unlink(missing_ok=True)
    sync(path.parent)
    return manifest


def _fill(
    part: Path, recording: ChannelRecording, points: Iterable[PvPoints], reason: str
) -> ChannelManifest:
    tree = ChannelTree(part, recording)
    n = 0
    try:
        for one in points:
            n += len(one)
            for rows, values in _of_one_shape(one):
                definition = Definition("text", "", tree.layout.text)
                if values.dtype != object:
                    shape = values.shape[1:] or tree.layout.scalar
                    definition = Definition("number", values.dtype.newbyteorder("<").str, shape)
                tree.append(one.name, definition, values, _columns(one, rows))
            if one.data is None:
                tree.announce(one.name)
        counters = m.Counters(recorder={"received": n, "written": n, "repeated": 0, "not_written": 0})
        return tree.finish(counters, "recorder", reason)
    finally:
        tree.close()


def _of_one_shape(points: PvPoints) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """Yield rows whose values have the same shape, and their values; text as objects."""
    if points.data is None:
        return
    has_value = points.shape.any(axis=1) if points.shape.shape[1] else points.connected
    own = points.shape.copy()
    first = int(np.argmax(has_value))
    own[~has_value] = own[first]  # what has no value goes with the first that has
    shapes, which = np.unique(own, axis=0, return_inverse=True) if own.shape[1] else (own[:1], None)
    for i, shape in enumerate(shapes):
        rows = np.arange(len(points)) if which is None else np.flatnonzero(which.reshape(-1) == i)
        where: Any = (rows, *(slice(int(length)) for length in shape))
        cropped = points.data[where]
        yield rows, _texts(cropped) if cropped.dtype.kind == "U" else cropped


def _texts(texts: Array) -> Array:
    """Return text as HDF5 has it: an array of text is one text, joined by commas."""
    joined = [", ".join(row) for row in texts.reshape(len(texts), -1).tolist()]
    return np.array([text.replace("\0", "") for text in joined], object)


def _columns(points: PvPoints, rows: NDArray[np.int64]) -> dict[str, Array]:
    return {
        "pulse_id": np.where(points.pulse_id_known, points.pulse_id, 0)[rows],
        "timestamp": points.timestamp_ns[rows] // 1000,
        "connected": points.connected[rows].astype(np.uint8),
        "status": points.status[rows].astype(object),
    }
