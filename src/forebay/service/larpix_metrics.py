"""What the monitor has counted, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from forebay.service.larpix_shown import Shown
from forebay.service.larpix_tally import Tally
from forebay.wire.larpix.statistics import FIFO_FLAGS
from forebay.wire.pacman_account import COUNTERS

_MOST = 2000
_CHIP = ("io_group", "io_channel", "chip_id")
_ADC_STEP = 16


class _Families(Collector):
    def __init__(self, shown: Shown, tally: Tally) -> None:
        self._shown, self._tally = shown, tally

    def collect(self) -> Iterable[Metric]:
        """Return every family."""
        rates = self._shown.rates(most=_MOST)
        fifo = self._tally.chips.fifo.sum(0).tolist()
        n_malformed = sum(one.counters["malformed"] for one in self._tally.accounts.values())
        single: dict[str, tuple[str, float]] = {
            "packets": ("Words of chips in this run.", self._tally.n_words),
            "counted": ("Those of them that were counted chip by chip.", self._tally.n_counted),
            "malformed": ("Blocks and messages that were none.", self._tally.n_malformed + n_malformed),
            "left_out": ("Words of chips beyond those that can be counted.", self._tally.chips.n_left_out),
            "missing": ("Messages of producers that never came.", self._tally.n_missing),
            "rate_hz": ("Words of chips a second, of the last seconds.", rates["total"]),
            "mean_hz": ("Words of chips a second, of the run.", rates["mean"]),
            "chips": ("Chips that sent something in this run.", rates["n_chips"]),
            "hot_channels": ("Channels with more than 10 times the median.", len(rates["hot"])),
        }
        single |= {
            f"fifo_{name}": ("Words with this flag.", n) for name, n in zip(FIFO_FLAGS, fifo, strict=True)
        }
        if self._tally.run is not None:
            single["run"] = "Number of the run.", self._tally.run
        for name, (text, value) in single.items():
            yield GaugeMetricFamily(f"forebay_larpix_{name}", text, value)
        boards = self._shown.boards()
        for name in ("rate_hz", *COUNTERS):
            rows = [({"io_group": group}, one[name]) for group, one in boards.items()]
            yield _family(f"board_{name}", f"{name} of a board.", ("io_group",), rows)
        for name, kind, labels in (
            ("io_channel", "io_channels", _CHIP[:2]),
            ("chip", "chips", _CHIP),
            ("hot_channel", "hot", (*_CHIP, "channel_id")),
        ):
            rows = [(one, one["rate_hz"]) for one in rates[kind]]
            yield _family(f"{name}_rate_hz", f"Words a second; at most {_MOST}, the busiest.", labels, rows)
        for name in ("count", "rate_hz"):
            rows = [(one, one[name]) for one in rates["triggers"]]
            yield _family(f"trigger_{name}", "Sync and trigger words.", ("io_group", "kind", "type"), rows)
        flags = [
            ({**one, "flag": flag}, one[flag])
            for one in self._shown.fifo(_MOST // len(FIFO_FLAGS))
            for flag in FIFO_FLAGS
            if one[flag]
        ]
        yield _family("chip_fifo", "Words of a chip with this FIFO flag.", (*_CHIP, "flag"), flags)
        yield self._adc()

    def _adc(self) -> Metric:
        family = HistogramMetricFamily(
            "forebay_larpix_adc", "ADC values of a board in this run.", labels=["io_group"]
        )
        found = self._tally.chips
        for group in np.unique(found.chips[:, 0]).tolist():
            adc = found.adc[found.chips[:, 0] == group].sum(0)
            adc = adc if adc[256:].any() else adc[:256]
            total = np.cumsum(adc)[_ADC_STEP - 1 :: _ADC_STEP].tolist()
            edges = [str(float(_ADC_STEP * (i + 1) - 1)) for i in range(len(total) - 1)]
            buckets = list(zip([*edges, "+Inf"], total, strict=True))
            family.add_metric([str(group)], buckets, float((adc * np.arange(len(adc))).sum()))
        return family


def _family(
    name: str, text: str, labels: Iterable[str], rows: Iterable[tuple[dict[str, Any], float]]
) -> Metric:
    names = list(labels)
    family = GaugeMetricFamily(f"forebay_larpix_{name}", text, labels=names)
    for one, value in rows:
        family.add_metric([str(one[label]) for label in names], value)
    return family


def metrics_text(shown: Shown, tally: Tally) -> str:
    """Return all of it, at one moment; counts are of this run and begin anew with the next."""
    registry = CollectorRegistry(auto_describe=False)
    with tally.lock:
        registry.register(_Families(shown, tally))
        return generate_latest(registry).decode()
