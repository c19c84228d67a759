"""What REST, the page and a web server show of what the monitor has counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from forebay.errors import UnknownError
from forebay.service.larpix_maps import PixelMaps
from forebay.service.larpix_tally import Tally
from forebay.wire.larpix.packets import packets_of
from forebay.wire.larpix.statistics import FIFO_FLAGS
from forebay.wire.pacman_account import COUNTERS

N_PIXELS: Final = 832
"""Pixels of the original's lists."""

MOST_CHIPS: Final = 200
"""Chips of which histograms are shown where none is named: the busiest."""

_SHOWN, _ADCS, _AT_A_GLANCE = 100, 1000, 20
_CHIP = ("io_group", "io_channel", "chip_id")
Packets = Callable[[], list[dict[str, Any]]]
_T = TypeVar("_T")


class Shown:
    """A tally for eyes; every method may be called from any thread.

    Parameters
    ----------
    packets:
        Returns the newest packets, oldest first, at most `_ADCS`; by default those that the tally has.
    state:
        Returns the state of the system.
    layouts:
        Directory of pixel layouts.
    layout:
        Key of `forebay.service.larpix_areas.Layouts` -> name of a layout that is there from the start.

    Raises
    ------
    ConfigError
        If one of these is none.
    """

    def __init__(
        self,
        tally: Tally,
        *,
        packets: Packets | None = None,
        state: Callable[[], str] = lambda: "",
        layouts: Path | None = None,
        layout: Mapping[str, str] | None = None,
    ) -> None:
        self._tally = tally
        self._maps = PixelMaps(tally, layouts, layout or {})
        self._packets = packets or self._rows
        self._state = state
        self._seen: dict[object, tuple[int, Any]] = {}

    def _once(self, what: object, make: Callable[[], _T]) -> _T:
        """Return what was made since the tally looked last: once a second, however many look."""
        with self._tally.lock:
            n_looks = self._tally.n_looks
            seen = self._seen.get(what)
            if seen is None or seen[0] != n_looks:
                seen = self._seen[what] = n_looks, make()
            found: _T = seen[1]
            return found

    def _rows(self) -> list[dict[str, Any]]:
        rows = [one for some in self._tally.chips.recent() for one in packets_of(some[-_ADCS:])]
        return [one.export() for one in rows[-_ADCS:]]

    def packets(self) -> list[dict[str, Any]]:
        """Return the newest packets, newest first."""
        with self._tally.lock:
            return self._packets()[-_SHOWN:][::-1]

    def messages(self) -> list[str]:
        """Return the newest texts, newest first."""
        with self._tally.lock:
            return list(self._tally.messages)[-_SHOWN:][::-1]

    def data_rate(self) -> str:
        """Return packets a second, from the begin of the run until now or until its end."""
        with self._tally.lock:
            return f"{self._tally.mean_hz:.2f}"

    def posted(self) -> dict[str, Any]:
        """Return what the original posts to its web server."""
        with self._tally.lock:
            packets, tally = self._packets(), self._tally
            rates = tally.pixel_rates()
            return {
                "rate": self.data_rate(),
                "packets": packets[-_SHOWN:][::-1],
                "messages": self.messages(),
                "rate_list": [n for _, n in tally.seconds],
                "rate_times": [second for second, _ in tally.seconds],
                "adcs": [value for one in packets for value in _adc_of(one)],
                "rate_bypixel": [rates.get(pixel, 0.0) for pixel in range(N_PIXELS)],
                "maxrate_bypixel": [tally.greatest.get(pixel, 0.0) for pixel in range(N_PIXELS)],
            }

    def status(self) -> dict[str, Any]:
        """Return state and run."""
        return {"state": self._state(), "run": self._tally.run}

    def boards(self) -> dict[str, Any]:
        """Return, of each io group, its rate of chips' words in Hz and the counters of this run."""
        with self._tally.lock:
            tally = self._tally
            rates = tally.board_rates()[:, COUNTERS.index("data_words")].tolist()
            return {
                str(group): {"rate_hz": rate, **account.counters}
                for (group, account), rate in zip(tally.accounts.items(), rates, strict=True)
            }

    def rates(self, chip: Sequence[str] = (), most: int = 1000) -> dict[str, Any]:
        """Return rates in Hz over the last seconds, of everything; see the page of the monitor.

        Parameters
        ----------
        chip:
            ``GROUP-CHANNEL-CHIP``: channels of these only.
        most:
            Chips and channels that are listed at most, the busiest.
        """
        with self._tally.lock:
            tally = self._tally
            rates = tally.channel_rates()
            chips = tally.chips.chips
            of_chips = rates.sum(1)
            boards = {group: one["rate_hz"] for group, one in self.boards().items()}
            chosen = np.flatnonzero(tally.chips.counts.any(1)) if not chip else self._indices(chip)
            channels = _busiest(rates[chosen], tally.chips.counts[chosen] > 0, most)
            return {
                "total": sum(boards.values()),
                "mean": tally.mean_hz,
                "share": tally.share,
                "groups": boards,
                "io_channels": [
                    dict(zip((*_CHIP[:2], "rate_hz"), [*key, rate], strict=True))
                    for key, rate in _by_io_channel(chips, of_chips)
                ],
                "chips": [_chip(chips[i]) | {"rate_hz": float(of_chips[i])} for i in _top(of_chips, most)],
                "channels": [
                    _chip(chips[chosen[i]]) | {"channel_id": k, "rate_hz": float(rates[chosen[i], k])}
                    for i, k in channels
                ],
                "hot": self._hot(most),
                "triggers": self.triggers(),
                "n_chips": len(chips),
                "n_channels": int(np.count_nonzero(tally.chips.counts)),
            }

    def _hot(self, most: int) -> list[dict[str, Any]]:
        hot = self._tally.chips.hot()[:most]
        hot["rate_hz"] /= self._tally.share or 1.0
        found = [dict(zip(hot.dtype.names or (), one, strict=True)) for one in hot.tolist()]
        if layouts := self._tally.layouts:
            for one in found:
                one["pixel"] = layouts.pixel_of([one[name] for name in _CHIP], one["channel_id"])
        return found

    def triggers(self) -> list[dict[str, Any]]:
        """Return counts and rates in Hz of sync and trigger words, by io group and type."""
        with self._tally.lock:
            return [
                {
                    "io_group": group,
                    "kind": kind,
                    "type": chr(of_type) if kind == "sync" else f"0x{of_type:02x}",
                    "count": n,
                    "rate_hz": rate,
                }
                for group, kind, of_type, n, rate in self._tally.specials.rates().tolist()
            ]

    def _indices(self, keys: Sequence[str]) -> NDArray[np.int64]:
        known = {_key(one): i for i, one in enumerate(self._tally.chips.chips.tolist())}
        for key in keys:
            if key not in known:
                raise UnknownError(
                    f"Chip {key[:40]!r} has sent nothing in this run.", "Name it GROUP-CHANNEL-CHIP."
                )
        return np.array([known[key] for key in keys], np.int64)

    def histograms(self, chip: Sequence[str] = ()) -> dict[str, Any]:
        """Return counts of ADC values and of FIFO flags in this run: of boards, and of chips.

        Of all chips, or of the `MOST_CHIPS` that sent most; or of those that are named.
        """
        with self._tally.lock:
            found = self._tally.chips
            chosen = self._indices(chip) if chip else _top(found.counts.sum(1), MOST_CHIPS)
            keys = [_key(one) for one in found.chips[chosen].tolist()]
            groups = np.unique(found.chips[:, 0]).tolist()
            return {
                "adc": dict(zip(keys, map(_trimmed, found.adc[chosen]), strict=True)),
                "fifo": dict(zip(keys, map(_flags, found.fifo[chosen]), strict=True)),
                "groups": {
                    str(group): {
                        "adc": _trimmed(found.adc[found.chips[:, 0] == group].sum(0)),
                        "fifo": _flags(found.fifo[found.chips[:, 0] == group].sum(0)),
                    }
                    for group in groups
                },
                "counted": self._tally.n_counted,
                "words": self._tally.n_words,
            }

    def fifo(self, most: int = 1000) -> list[dict[str, Any]]:
        """Return the chips whose words had FIFO flags in this run, those with most flags of full first.

        With the data words that were counted of each, and of each flag of `FIFO_FLAGS` the words that had it
        and how many a second have it now, ``NAME`` and ``NAME_hz``.
        """
        with self._tally.lock:
            found, share = self._tally.chips, self._tally.share or 1.0
            flagged = np.flatnonzero(found.fifo.any(1))
            n_full = found.fifo[flagged][:, [i for i, name in enumerate(FIFO_FLAGS) if "full" in name]].sum(1)
            order = flagged[np.lexsort((-found.fifo[flagged].sum(1), -n_full))][:most]
            rates = found.fifo_rates() / share
            return [
                _chip(found.chips[i])
                | {"words": int(found.counts[i].sum()), **_flags(found.fifo[i])}
                | {f"{name}_hz": hz for name, hz in zip(FIFO_FLAGS, rates[i].tolist(), strict=True)}
                for i in order
            ]

    def glance(self) -> dict[str, Any]:
        """Return what the page shows, at one moment of the last second."""
        return {**self._once("glance", self._glance), **self.status()}

    def _glance(self) -> dict[str, Any]:
        with self._tally.lock:
            boards, fifo = self.boards(), self._tally.chips.fifo
            groups = self._tally.chips.chips[:, 0]
            for group, one in boards.items():
                one["fifo"] = _flags(fifo[groups == int(group)].sum(0))
            return {
                "rates": {**self.rates(most=_AT_A_GLANCE), "channels": []},
                "boards": boards,
                "fifo": self.fifo(_AT_A_GLANCE),
                "adc": _trimmed(self._tally.chips.adc.sum(0)),
                "seconds": list(self._tally.seconds),
                "packets": self.packets()[:_AT_A_GLANCE],
                "messages": self.messages()[:_AT_A_GLANCE],
                "words": self._tally.n_words,
                "missing": self._tally.n_missing,
                "maps": self._maps.maps(),
            }

    def picture(self, io_group: int | None = None, tile: int | None = None) -> bytes:
        """Return the map of pixels as PNG, see `PixelMaps.picture`; of the last second."""
        return self._once((io_group, tile), lambda: self._maps.picture(io_group, tile))

    def retrieve_pixel_layout(self) -> dict[str, Any]:
        """Return the layout that is loaded, see `PixelMaps.retrieve`."""
        return self._maps.retrieve()

    def load_pixel_layout(self, name: str) -> dict[str, Any]:
        """Load a pixel layout, see `PixelMaps.load`."""
        with self._tally.lock:
            said = self._maps.load(name)
            self._seen.clear()
        return said


def _key(chip: Sequence[int]) -> str:
    return "-".join(map(str, chip))


def _chip(chip: NDArray[np.uint8]) -> dict[str, Any]:
    return dict(zip(_CHIP, chip.tolist(), strict=True))


def _adc_of(packet: dict[str, Any]) -> list[int]:
    return [packet[name] for name in ("adc_counts", "dataword") if name in packet and "chip_key" in packet]


def _flags(counts: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(FIFO_FLAGS, counts.tolist(), strict=True))


def _trimmed(adc: NDArray[np.int64]) -> list[int]:
    """Return 256 values where there are no greater ones, else all 1024."""
    found: list[int] = (adc if adc[256:].any() else adc[:256]).tolist()
    return found


def _top(values: NDArray[Any], most: int) -> NDArray[np.int64]:
    """Return places of the greatest values, greatest first; all in their order where there are few."""
    if len(values) <= most:
        return np.arange(len(values))
    return np.argsort(-values, kind="stable")[:most]


def _busiest(rates: NDArray[Any], is_known: NDArray[np.bool_], most: int) -> list[tuple[int, int]]:
    row, column = np.nonzero(is_known)
    top = _top(rates[row, column], most)
    return list(zip(row[top].tolist(), column[top].tolist(), strict=True))


def _by_io_channel(chips: NDArray[np.uint8], rates: NDArray[Any]) -> list[tuple[list[int], float]]:
    keys, index = np.unique(chips[:, :2], axis=0, return_inverse=True)
    sums = np.bincount(index.ravel(), rates, len(keys))
    return list(zip(keys.tolist(), sums.tolist(), strict=True))
