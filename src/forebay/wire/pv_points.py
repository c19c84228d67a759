"""Updates of many process variables, gathered from records and turned into columns of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from forebay.event import Array
from forebay.wire.dtype import from_text
from forebay.wire.epics import ROW, TEXT, Batch, value_of
from forebay.wire.pulse_map import PulseMap, Span

_NONE: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class PvPoints:
    """The points of one process variable, in order of arrival.

    Attributes
    ----------
    data:
        ``(point, *shape)``; None if no point has a value. Values of different types are turned into a type
        that holds them all, text if one of them is text; shorter ones are filled up with 0 or "".
    shape:
        uint32 (point, dimension): shape that each value came with; 0 where there is none. A scalar among
        arrays counts as an array of one.
    types:
        The types and shapes that came, e.g. ``("<f8[10]", "<f8[12]")``.
    timestamp_ns, received_ns:
        int64 (point,), ns since 1970: as the server stamped it, and when it came to us.
    connected, severity, status:
        bool, uint8 and text (point,). A point that is not connected has no value.
    pulse_id, pulse_id_known:
        int64 and bool (point,). Where it is not known, the pulse id means nothing.
    """

    name: str
    data: Array | None
    shape: NDArray[np.uint32]
    types: tuple[str, ...]
    timestamp_ns: NDArray[np.int64]
    received_ns: NDArray[np.int64]
    connected: NDArray[np.bool_]
    severity: NDArray[np.uint8]
    status: NDArray[np.str_]
    pulse_id: NDArray[np.int64]
    pulse_id_known: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.timestamp_ns)


class _Kind(NamedTuple):
    type: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.type}{list(self.shape)}" if self.shape else self.type


class Gathered:
    """All updates of `names` in some batches, each once, sorted by name and arrival."""

    def __init__(self, batches: Iterable[Batch], names: Sequence[str]) -> None:
        self.names = list(dict.fromkeys(names))
        self._kinds: dict[_Kind, int] = {}
        self._statuses: dict[str, int] = {}
        index = {name: i for i, name in enumerate(self.names)}
        rows: list[NDArray[Any]] = []
        values: list[NDArray[np.uint8]] = []
        for batch in batches:
            i_pv = np.array([index.get(name, _NONE) for name in batch.names], np.int64)[batch.rows["i_name"]]
            wanted = i_pv >= 0
            if not wanted.any():
                continue
            taken = batch.rows[wanted]
            taken["i_name"] = i_pv[wanted]
            taken["i_type"] = self._numbers_of(self._kinds, (_Kind(t.type, t.shape) for t in batch.types))[
                taken["i_type"]
            ]
            taken["i_status"] = self._numbers_of(self._statuses, batch.statuses)[taken["i_status"]]
            rows.append(taken)
            values.append(
                batch.values if wanted.all() else batch.values[np.repeat(wanted, batch.rows["n_bytes"])]
            )
        self._sort(rows, values)

    @staticmethod
    def _numbers_of(known: dict[Any, int], items: Iterable[Any]) -> NDArray[np.int64]:
        """Return our number of each of a batch's items, and -1 as the last, which stands for none."""
        return np.array([*(known.setdefault(one, len(known)) for one in items), _NONE], np.int64)

    def _sort(self, rows: list[NDArray[Any]], values: list[NDArray[np.uint8]]) -> None:
        self._values = np.concatenate(values) if values else np.empty(0, np.uint8)
        self._rows: NDArray[Any] = np.empty(0, ROW)
        if not rows:
            self._offsets: NDArray[np.int64] = np.empty(0, np.int64)
            self._bounds = np.zeros(len(self.names) + 1, np.int64)
            return
        joined = np.concatenate(rows)
        offsets = np.cumsum(joined["n_bytes"], dtype=np.int64) - joined["n_bytes"]
        order = np.lexsort((joined["received_ns"], joined["i_name"]))
        name, time = joined["i_name"][order], joined["received_ns"][order]
        is_new = np.ones(len(order), np.bool_)  # what was repeated has the same arrival
        is_new[1:] = (name[1:] != name[:-1]) | (time[1:] != time[:-1])
        order = order[is_new]
        self._rows, self._offsets = joined[order], offsets[order]
        self._bounds = np.searchsorted(self._rows["i_name"], np.arange(len(self.names) + 1))

    def begins_before(self, time_ns: int) -> bool:
        """Whether anything was received at or before a time."""
        return bool((self._rows["received_ns"] <= time_ns).any())

    def points(self, span: Span, pulses: PulseMap | None, *, tie: bool) -> Iterator[PvPoints]:
        """Yield the points of each name that has some; see `forebay.ring.pv_reader.retrieve_pvs`."""
        for i_name, name in enumerate(self.names):
            first, stop = self._bounds[i_name : i_name + 2]
            if first < stop:
                yield self._point(name, first + select(self._rows[first:stop], span), pulses, tie)

    def _point(self, name: str, chosen: NDArray[np.int64], pulses: PulseMap | None, tie: bool) -> PvPoints:
        rows = self._rows[chosen]
        stamps = rows["timestamp_ns"].copy()
        if pulses is None:
            pulse_id, is_known = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.bool_)
        else:
            pulse_id, is_known = pulses.at(stamps, tie=tie)
        kinds = list(self._kinds)
        came = [kinds[i] for i in dict.fromkeys(rows["i_type"].tolist()) if i != _NONE]
        data, shape = self._data(rows, self._offsets[chosen], came)
        return PvPoints(
            name,
            data,
            shape,
            tuple(str(kind) for kind in came),
            stamps,
            rows["received_ns"].copy(),
            rows["connected"].copy(),
            rows["severity"].copy(),
            np.array(list(self._statuses) or [""])[rows["i_status"]],
            pulse_id,
            is_known,
        )

    def _data(
        self, rows: NDArray[Any], offsets: NDArray[np.int64], came: Sequence[_Kind]
    ) -> tuple[Array | None, NDArray[np.uint32]]:
        """Return the values of some updates in one array, and the shape of each."""
        n_dimensions = max((len(kind.shape) for kind in came), default=0)
        shape = np.zeros((len(rows), n_dimensions), np.uint32)
        if not came:
            return None, shape
        parts: list[tuple[NDArray[np.int64], Array]] = []
        for kind in came:
            at = np.flatnonzero(rows["i_type"] == self._kinds[kind])
            full = kind.shape + (1,) * (n_dimensions - len(kind.shape))
            parts.append(
                (at, self._values_of(kind, offsets[at], rows["n_bytes"][at]).reshape(len(at), *full))
            )
            shape[at] = full
        is_text = any(values.dtype.kind == "U" for _, values in parts)
        if is_text:
            parts = [(at, values.astype(np.str_)) for at, values in parts]
        dtype = np.result_type(*(values.dtype for _, values in parts))
        data = np.zeros((len(rows), *shape.max(axis=0).tolist()), dtype)
        for at, values in parts:
            where: Any = (at, *(slice(n) for n in values.shape[1:]))
            data[where] = values
        return data, shape

    def _values_of(self, kind: _Kind, offsets: NDArray[np.int64], n_bytes: NDArray[np.uint32]) -> Array:
        """Return the values at some places, all of one type and shape: (update, *shape)."""
        if kind.type == TEXT:
            places = zip(offsets.tolist(), n_bytes.tolist(), strict=True)
            return np.array([value_of(TEXT, kind.shape, self._values[a : a + n]) for a, n in places])
        size = int(n_bytes[0])
        if not size:
            return np.empty((len(offsets), *kind.shape), from_text(kind.type))
        raw = sliding_window_view(self._values, size)[offsets]  # one copy of each, and no index of bytes
        return raw.view(from_text(kind.type)).reshape(len(offsets), *kind.shape)


def select(rows: NDArray[Any], span: Span) -> NDArray[np.int64]:
    """Return which updates of one name, sorted by arrival, belong to a span.

    They are the last one received at or before its start, all inside, and the first one received at or
    after its end. Inside are also those that were received before or after it but stamped within: the server
    of the values may send late, and that of the pulses too.
    """
    received, stamped = rows["received_ns"], rows["timestamp_ns"]
    is_stamped_inside = (stamped > span.first_ns) & (stamped <= span.last_ns) & rows["connected"]
    is_inside = (received > span.received_first_ns) & (received < span.received_last_ns)
    chosen = is_inside | (is_stamped_inside & (received != span.received_last_ns))
    before = np.flatnonzero((received <= span.received_first_ns) & ~chosen)
    after = np.flatnonzero((received >= span.received_last_ns) & ~chosen)
    chosen[before[-1:]] = True
    chosen[after[:1]] = True
    return np.flatnonzero(chosen)
