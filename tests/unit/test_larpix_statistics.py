"""The monitor's arithmetic, against counting word by word."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.larpix_events import blocks

from forebay.wire import pacman
from forebay.wire.larpix import word
from forebay.wire.larpix.packets import packets_of
from forebay.wire.larpix.statistics import FIFO_FLAGS, ChipStatistics
from forebay.wire.pacman_batch import Batch

pytestmark = pytest.mark.unit


def batch_of(fields, io_channel=1, word_format=word.V2):
    words = word.encode({"packet_type": word_format.data_type, **fields}, word_format)
    message = pacman.encode(pacman.DATA_MESSAGE, 1, pacman.data_words(io_channel, 0, np.atleast_1d(words)))
    return Batch(message, np.array([len(message)]))


def hits(n, chip_id=11, channel_id=5, **fields):
    return batch_of({"chip_id": [chip_id] * n, "channel_id": channel_id, **fields})


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 100))
def test_counts(n_blocks, n_words, seed):
    made = blocks(n_blocks, n_messages=3, n_words=n_words, seed=seed)
    made += blocks(1, n_words=n_words, seed=seed + 1, io_group=2)
    statistics = ChipStatistics()
    channels, adc = Counter(), Counter()
    for event in made:
        batch = event.arrays.batch
        statistics.add(batch, event.arrays.io_group, word.V2)
        for one in packets_of(batch.rows(event.arrays.io_group, word.V2)[0]):
            if one.packet_type == 0:
                chip = one.io_group, one.io_channel, one.chip_id
                channels[chip, one.channel_id] += 1
                adc[chip, one.dataword] += 1
    chips = [tuple(chip) for chip in statistics.chips.tolist()]
    for table, expected in ((statistics.counts, channels), (statistics.adc, adc)):
        found = {(chips[i], int(k)): int(table[i, k]) for i, k in zip(*np.nonzero(table), strict=True)}
        assert found == expected
    assert sum(map(len, statistics.recent())) >= min(100, sum(channels.values()))


def test_rates_are_of_the_window_and_fall_to_nothing():
    statistics = ChipStatistics(window_s=2.0)
    assert statistics.rate_hz == 0
    for second in range(6):
        statistics.add(hits(100), 1, word.V2)
        statistics.add(hits(50, chip_id=12), 2, word.V2)
        statistics.advance(float(second))
    assert statistics.rate_hz == 150
    assert statistics.chips[:, 0].tolist() == [1, 2]
    assert statistics.rates().sum(1).tolist() == [100, 50]
    for second in range(6, 9):
        statistics.advance(float(second))
    assert statistics.rate_hz == 0
    assert statistics.counts.sum() == 900
    statistics.clear()
    assert len(statistics.chips) == 0


def test_a_chip_that_begins_within_the_window():
    statistics = ChipStatistics(window_s=10.0)
    statistics.advance(0.0)
    statistics.add(hits(30), 1, word.V2)
    statistics.advance(3.0)
    assert statistics.rate_hz == 10
    statistics.add(hits(30, chip_id=99), 1, word.V2)
    assert statistics.rates().sum(1).tolist() == [10, 0]


def test_fifo_flags():
    statistics = ChipStatistics()
    statistics.add(
        batch_of({"chip_id": 1, "local_fifo": [0, 1, 2, 3], "shared_fifo": [0, 0, 2, 2]}), 1, word.V2
    )
    assert dict(zip(FIFO_FLAGS, statistics.fifo[0].tolist(), strict=True)) == {
        "local_half": 2,
        "local_full": 2,
        "shared_half": 0,
        "shared_full": 2,
    }
    statistics.add(
        batch_of({"chip_id": 2, "fifo_half": [1], "fifo_full": 0}, word_format=word.V1), 3, word.V1
    )
    assert statistics.fifo[1].tolist() == [1, 0, 0, 0]


def test_hot_channels():
    statistics = ChipStatistics()
    statistics.advance(0.0)
    for channel in range(20):
        statistics.add(hits(10, channel_id=channel), 1, word.V2)
    statistics.add(hits(500, channel_id=7), 1, word.V2)
    statistics.add(hits(200, channel_id=3), 1, word.V2)
    assert len(statistics.hot()) == 0
    statistics.advance(1.0)
    hot = statistics.hot()
    assert hot["channel_id"].tolist() == [7, 3]
    assert hot["rate_hz"].tolist() == [510, 210]


def test_wide_datawords_and_other_packets():
    statistics = ChipStatistics()
    statistics.add(batch_of({"chip_id": 1, "dataword": [1023]}, word_format=word.V3), 1, word.V3)
    statistics.add(batch_of({"chip_id": 1, "packet_type": 2}), 1, word.V2)
    assert statistics.adc[0, 1023] == 1
    assert statistics.counts.sum() == 1


def test_noise_names_no_more_chips_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr("forebay.wire.larpix.statistics.MOST_CHIPS", 5)
    statistics = ChipStatistics()
    for chip_id in (1, 2, 3):
        statistics.add(hits(2, chip_id=chip_id), 1, word.V2)
    statistics.add(batch_of({"chip_id": [3, 4, 5, 6, 7, 7]}), 1, word.V2)
    assert statistics.chips[:, 2].tolist() == [1, 2, 3, 4, 5]
    assert (statistics.counts.sum(), statistics.n_left_out) == (9, 3)
    statistics.add(hits(4, chip_id=9), 2, word.V2)
    statistics.add(hits(4, chip_id=1), 1, word.V2)
    assert (statistics.counts.sum(), statistics.n_left_out) == (13, 7)
    assert statistics.adc.sum() == 13
    statistics.clear()
    statistics.add(hits(1, chip_id=9), 2, word.V2)
    assert (statistics.counts.sum(), statistics.n_left_out) == (1, 0)
