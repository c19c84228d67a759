"""The monitor as a component of larpix-daq: runs, blocks of both kinds, several producers, no blocks."""

import numpy as np
import pytest
from tests.larpix_events import blocks

from forebay.front.larpix.arguments import parse
from forebay.service.larpix_monitor import Monitor
from forebay.wire.larpix import block, board_block, word
from forebay.wire.xylem import BEGINNING, ENDING, Data, Info

pytestmark = pytest.mark.flow


@pytest.fixture
def monitor():
    made = Monitor(parse("online_monitor", ["--log-address", "tcp://127.0.0.1:1"]), "Online monitor")
    made.tally._clock = clock = Clock()
    made.tally.clear(None)
    made.clock = clock
    yield made
    made.close()


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def old_block(n, channel=3):
    words = word.encode(
        {"packet_type": 0, "chip_id": [246] * n, "channel_id": channel, "dataword": 101}, word.V1
    )
    return block.encode(block.make(block.WORD, words, 1, 1))


def take(monitor, *payloads, name="LArPix board"):
    parts = []
    for payload in payloads:
        monitor._take_in(Data({"name": name, "timestamp": 5.0}, payload), parts)
    monitor._count(parts)


def test_blocks_of_both_kinds_are_counted_together(monitor):
    (event,) = blocks(1, n_messages=2, n_words=10, seed=3, io_group=7)
    n_words = int((event.arrays.batch.words["kind"] == ord("D")).sum())
    take(monitor, old_block(30), board_block.encode(event.arrays), old_block(5), b"nonsense")
    assert monitor.tally.n_words == 35 + n_words
    assert monitor.tally.n_malformed == 1
    assert set(monitor.shown.boards()) == {"1", "7"}
    kinds = {one.get("chipid", one.get("chip_id")) for one in monitor.packets()}
    assert 246 in kinds
    assert len(monitor.packets()) >= 35


def test_packets_are_shown_as_the_original_shows_them(monitor):
    take(monitor, old_block(200, channel=9))
    newest = monitor.packets()[0]
    assert (newest["chip_key"], newest["channel"], newest["adc_counts"]) == ("1-1-246", 9, 100)
    assert len(monitor.packets()) == 100
    assert monitor.shown.posted()["adcs"] == [100] * 200


def test_a_new_run_begins_from_nothing(monitor):
    monitor.enter("READY", 4)
    take(monitor, old_block(50))
    assert monitor.tally.run == 4
    monitor.enter("RUN", 4)
    monitor.enter("STOP", 4)
    assert monitor.tally.n_words == 50  # until the next one is prepared
    monitor.enter("READY", 5)
    assert (monitor.tally.run, monitor.tally.n_words, monitor.packets()) == (5, 0, [])
    assert monitor.data_rate() == "0.00"


def test_the_mean_is_from_the_first_begin_to_the_last_end(monitor):
    def say(text, name):
        monitor._note(Info(1.0, name, text))

    monitor.enter("READY", 1)
    monitor.clock.now += 50
    say(BEGINNING, "a")
    monitor.clock.now += 1
    say(BEGINNING, "b")
    take(monitor, *[old_block(20_000)] * 6)
    monitor.clock.now += 5
    say(ENDING, "a")
    monitor.clock.now += 4
    assert monitor.data_rate() == "12000.00"
    say(ENDING, "b")
    monitor.clock.now += 1000
    assert monitor.data_rate() == "12000.00"
    assert monitor.messages() == [ENDING, ENDING, BEGINNING, BEGINNING]


def test_nothing_that_comes_ends_it(monitor):
    rng = np.random.default_rng(2)
    for n in range(60):
        body = rng.integers(0, 256, n, dtype=np.uint8).tobytes()
        take(monitor, body, b"\x00\x01/" + body, b"\x01\x00/\xff" + body)
    (event,) = blocks(1, n_messages=2, n_words=4, seed=3)
    whole = board_block.encode(event.arrays)
    for i in range(0, len(whole), 7):
        take(monitor, whole[:i] + b"\xff" + whole[i + 1 :])
    monitor.tally.advance()
    monitor.shown.glance()
    assert monitor.tally.n_malformed > 0
