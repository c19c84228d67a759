"""What the monitor counts: boards exactly, chips within a share of a processor, and right when data stop."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tests.larpix_events import blocks

from forebay.errors import ConfigError, UnknownError
from forebay.event import Event
from forebay.service.larpix_layout import Layout
from forebay.service.larpix_metrics import metrics_text
from forebay.service.larpix_picture import chip_map
from forebay.service.larpix_shown import N_PIXELS, Shown
from forebay.service.larpix_tally import Budget, Tally
from forebay.wire import pacman
from forebay.wire.larpix import word
from forebay.wire.larpix.specials import SpecialStatistics
from forebay.wire.larpix.window import Window
from forebay.wire.pacman_batch import Batch, PacmanArrays

pytestmark = pytest.mark.unit

NO_MODULES = np.zeros(0, np.uint32)


class Clock:
    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def event(io_group, words, asic="2", extra=()):
    """Return a block with one message: data words by field, and other words of a board."""
    fmt = word.format_of(asic)
    coded = word.encode({"packet_type": fmt.data_type, **words}, fmt) if words else np.zeros(0, np.uint64)
    records = np.concatenate([pacman.data_words(1, 0, np.atleast_1d(coded)), *extra])
    message = pacman.encode(pacman.DATA_MESSAGE, 7, records)
    return Event(
        "b", 0, 0, PacmanArrays(message, np.array([len(message)], np.uint32), io_group, asic), NO_MODULES
    )


def hits(n, io_group=1, chip_id=11, channel_id=5, **more):
    return event(io_group, {"chip_id": [chip_id] * n, "channel_id": channel_id, **more})


def tally(clock=None, **more):
    clock = clock or Clock()
    return Tally(clock=clock, wall=clock, **more), clock


def seconds(counted, clock, n, events=()):
    for _ in range(n):
        counted.add(list(events))
        clock.now += 1.0
        assert counted.advance()


def test_rates_are_of_the_last_seconds_and_fall_to_nothing():
    counted, clock = tally()
    shown = Shown(counted)
    seconds(counted, clock, 3, [hits(100, io_group=1), hits(50, io_group=2)])
    found = shown.rates()
    assert found["total"] == pytest.approx(150)
    assert found["groups"] == pytest.approx({"1": 100, "2": 50})
    assert [one["rate_hz"] for one in found["io_channels"]] == pytest.approx([100, 50])
    seconds(counted, clock, 5)  # the window of 5 s
    assert shown.rates()["total"] == 0
    assert shown.rates()["chips"][0]["rate_hz"] == 0
    assert [n for _, n in counted.seconds] == [150] * 3 + [0] * 5
    assert counted.n_words == 450


def test_a_monitor_that_was_started_in_a_run_counts_from_the_first_data_on():
    counted, clock = tally()
    clock.now += 10.0  # until the process was ready
    seconds(counted, clock, 2, [hits(100)])
    shown = Shown(counted)
    assert shown.rates()["total"] == pytest.approx(100)
    assert shown.rates()["chips"][0]["rate_hz"] == pytest.approx(100)
    assert shown.data_rate() == "100.00"


def test_the_mean_is_right_beyond_100_000_packets_and_goes_down_when_data_stop():
    counted, clock = tally()
    counted.begin()
    seconds(counted, clock, 30, [hits(5000)])
    assert Shown(counted).data_rate() == "5000.00"
    seconds(counted, clock, 30)
    assert Shown(counted).data_rate() == "2500.00"
    counted.end()
    seconds(counted, clock, 30)
    assert Shown(counted).data_rate() == "2500.00"


def test_a_new_run_begins_from_nothing_and_texts_stay():
    counted, clock = tally()
    counted.note("Beginning run")
    seconds(counted, clock, 3, [hits(100), event(1, {}, extra=[pacman.sync_word(b"S", 0)])])
    assert [one["count"] for one in Shown(counted).triggers()] == [3]
    counted.n_malformed = 2
    counted.clear(7)
    shown = Shown(counted)
    assert counted.run == 7
    assert (counted.n_words, counted.n_malformed, len(counted.chips.chips), len(counted.seconds)) == (
        0,
        0,
        0,
        0,
    )
    assert shown.rates()["total"] == 0
    assert shown.histograms()["adc"] == {}
    assert shown.triggers() == []
    assert shown.messages() == ["Beginning run"]
    assert shown.posted()["packets"] == []
    seconds(counted, clock, 2, [hits(10)])
    assert shown.rates()["total"] == pytest.approx(10)


def test_a_process_that_had_no_time_leaves_no_second_out():
    counted, clock = tally()
    counted.add([hits(10)])
    clock.now += 3.0
    counted.advance()
    assert [second for second, _ in counted.seconds] == [1000, 1001, 1002]
    assert [n for _, n in counted.seconds] == [0, 0, 10]
    assert not counted.advance()


def test_what_exceeds_the_share_of_a_processor_is_counted_by_board_and_scaled_by_chip():
    spent = Clock(0.0)
    clock = Clock()
    counted, _ = tally(clock, cpu_share=0.5, spent=spent)
    add = counted._add

    def costly(*arguments, **more):
        add(*arguments, **more)
        spent.now += 0.25

    counted._add = costly
    seconds(counted, clock, 4, [hits(100) for _ in range(8)])  # two of eight blocks fit into half a second
    assert counted.share == pytest.approx(0.25)
    assert (counted.n_words, counted.n_counted) == (3200, 800)
    found = Shown(counted).rates()
    assert found["total"] == pytest.approx(800)
    assert found["chips"][0]["rate_hz"] == pytest.approx(800)
    assert "forebay_larpix_counted 800.0" in metrics_text(Shown(counted), counted)


def test_a_budget_is_of_each_second():
    clock, spent = Clock(), Clock(0.0)
    budget = Budget(0.1, clock, spent)
    assert budget.is_open
    with budget.used():
        spent.now += 0.2
    assert not budget.is_open
    clock.now += 1.0
    assert budget.is_open


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([b"S", b"H", b"C"])), max_size=20),
    st.integers(0, 9),
)
@settings(max_examples=30, deadline=None)
def test_syncs_and_triggers_are_counted_one_by_one(syncs, n_triggers):
    specials = SpecialStatistics()
    specials.advance(0.0)
    expected = {}
    for i, (n, kind) in enumerate(syncs):
        group = 1 + i % 3
        extra = [pacman.sync_word(kind, 10_000_000)] * n + [pacman.trigger_word(6, 3)] * n_triggers
        arrays = event(group, {"chip_id": [1]}, extra=extra).arrays
        specials.add(arrays.batch, group)
        for key, more in (((group, "sync", kind[0]), n), ((group, "trigger", 6), n_triggers)):
            expected[key] = expected.get(key, 0) + more
    specials.advance(2.0)
    rates = specials.rates()
    found = {(g, str(k), t): (n, hz) for g, k, t, n, hz in rates.tolist()}
    assert found == {key: (n, n / 2.0) for key, n in expected.items() if n}


def test_words_of_requests_are_no_triggers():
    message = pacman.encode(pacman.REQUEST, 7, pacman.trigger_word(1, 3))
    specials = SpecialStatistics()
    specials.add(Batch(message, np.array([len(message)])), 1)
    assert len(specials.rates()) == 0


def test_windows_take_counters_that_come_later():
    window = Window(10.0)
    window.advance(0.0, np.array([5]))
    assert window.rates((3,)).tolist() == [0, 0, 0]
    window.advance(2.0, np.array([7, 4]))
    assert window.rates((3,)).tolist() == [1, 2, 0]


def test_everything_can_be_said_in_json_and_is_bounded():
    counted, clock = tally()
    shown = Shown(counted)
    for i in range(250):
        counted.add([hits(1 + i % 3, chip_id=i, channel_id=i % 64)])
    clock.now += 1
    counted.advance()
    for what in (shown.posted, shown.rates, shown.histograms, shown.glance, shown.boards, shown.triggers):
        json.dumps(what())
    assert len(shown.histograms()["adc"]) == 200
    assert sum(shown.histograms()["groups"]["1"]["adc"]) == counted.n_words
    found = shown.rates(most=10)
    assert (len(found["chips"]), len(found["channels"])) == (10, 10)
    assert found["chips"][0]["rate_hz"] == 3
    assert (found["n_chips"], found["n_channels"]) == (250, 250)
    one = shown.rates(["1-1-7"])
    assert [(row["chip_id"], row["channel_id"]) for row in one["channels"]] == [(7, 7)]
    assert list(shown.histograms(["1-1-7"])["adc"]) == ["1-1-7"]
    with pytest.raises(UnknownError, match="1-1-251"):
        shown.histograms(["1-1-251"])
    assert len(shown.posted()["rate_bypixel"]) == N_PIXELS
    assert len(shown.packets()) == 100


def test_the_newest_packets_come_first_of_every_version():
    counted, _ = tally()
    counted.add([hits(3, channel_id=1), event(2, {"chip_id": [3], "channel_id": 9, "dataword": 1000}, "3")])
    newest, *_ = Shown(counted).packets()
    assert (newest["chip_key"], newest["channel_id"]) == ("2-1-3", 9)
    assert Shown(counted).posted()["adcs"] == [0, 0, 0, 1000]
    assert len(Shown(counted).histograms()["groups"]["2"]["adc"]) == 1024


def test_boards_have_their_faults():
    counted, clock = tally()
    bad = hits(4)
    data = bytearray(bad.arrays.data)
    data[16] ^= 1
    arrays = PacmanArrays(bytes(data), bad.arrays.lengths, 1, "2")
    counted.add([Event("b", 0, 0, arrays, NO_MODULES)])
    counted.add([Event("b", 1, 0, PacmanArrays(b"???", np.array([3], np.uint32), 1, "2"), NO_MODULES)])
    seconds(counted, clock, 1)
    board = Shown(counted).boards()["1"]
    assert (board["data_words"], board["parity_errors"], board["malformed"]) == (4, 1, 1)
    assert "forebay_larpix_malformed 1.0" in metrics_text(Shown(counted), counted)


def test_fifo_flags_are_counted_chip_by_chip():
    counted, clock = tally()
    shown = Shown(counted)
    assert shown.fifo() == []
    flagged = [hits(10, chip_id=4, local_fifo=1), hits(3, chip_id=5, shared_fifo=3), hits(5, chip_id=6)]
    seconds(counted, clock, 2, flagged)
    full, half = shown.fifo()
    assert (full["chip_id"], full["words"], full["shared_full"], full["local_half"]) == (5, 6, 6, 0)
    assert (half["chip_id"], half["local_half"], half["local_full"]) == (4, 20, 0)
    assert half["local_half_hz"] == pytest.approx(10)
    assert shown.fifo(1) == [full]
    assert shown.glance()["fifo"] == [full, half]
    line = 'forebay_larpix_chip_fifo{io_group="1",io_channel="1",chip_id="5",flag="shared_full"} 6.0'
    text = metrics_text(shown, counted)
    assert sorted_labels(line) in {sorted_labels(one) for one in text.splitlines()}
    assert 'chip_id="6",flag' not in text
    seconds(counted, clock, 6)
    assert shown.fifo()[0]["shared_full_hz"] == 0


def test_metrics_of_a_run():
    counted, clock = tally()
    counted.clear(12)
    extra = [pacman.sync_word(b"S", 10_000_000), pacman.trigger_word(2, 5)]
    seconds(
        counted, clock, 2, [event(3, {"chip_id": [4] * 10, "channel_id": 1, "dataword": 20}, extra=extra)]
    )
    text = metrics_text(Shown(counted), counted)
    assert len({one.name for one in text_string_to_metric_families(text)}) > 30
    for line in (
        "forebay_larpix_packets 20.0",
        "forebay_larpix_run 12.0",
        "forebay_larpix_rate_hz 10.0",
        'forebay_larpix_board_rate_hz{io_group="3"} 10.0',
        'forebay_larpix_io_channel_rate_hz{io_channel="1",io_group="3"} 10.0',
        'forebay_larpix_chip_rate_hz{chip_id="4",io_channel="1",io_group="3"} 10.0',
        'forebay_larpix_trigger_rate_hz{io_group="3",kind="trigger",type="0x02"} 1.0',
        'forebay_larpix_trigger_count{io_group="3",kind="sync",type="S"} 2.0',
        'forebay_larpix_adc_bucket{io_group="3",le="15.0"} 0.0',
        'forebay_larpix_adc_bucket{io_group="3",le="31.0"} 20.0',
        'forebay_larpix_adc_bucket{io_group="3",le="+Inf"} 20.0',
        'forebay_larpix_adc_sum{io_group="3"} 400.0',
    ):
        assert sorted_labels(line) in {sorted_labels(one) for one in text.splitlines()}, line


def sorted_labels(line):
    name, brace, rest = line.partition("{")
    labels, _, value = rest.rpartition("} ")
    return (name, tuple(sorted(labels.split(","))), value) if brace else line


def test_pixels_of_boards_together_and_one_by_one(tmp_path):
    path = tmp_path / "layout-1.yaml"
    path.write_text("chips: [[3, [5, null]]]\npixels: [[5, 1.0, 2.0, [], []]]\n")
    counted, clock = tally()
    shown = Shown(counted, layouts=tmp_path)
    with pytest.raises(ConfigError):
        shown.load_pixel_layout("9")
    assert shown.load_pixel_layout("1") == Layout(path).said()
    assert shown.picture()[:4] == b"\x89PNG"  # where nothing has come yet
    seconds(counted, clock, 1, [hits(4, io_group=1, chip_id=3, channel_id=0)])
    seconds(counted, clock, 1, [hits(6, io_group=2, chip_id=3, channel_id=0)])
    assert counted.pixel_rates() == {5: pytest.approx(5)}
    assert counted.pixel_rates(2) == {5: pytest.approx(3)}
    assert shown.posted()["maxrate_bypixel"][5] == pytest.approx(5)
    assert shown.picture(1)[:4] == b"\x89PNG"
    for channel in range(1, 20):
        counted.add([hits(1, chip_id=3, channel_id=channel)])
    seconds(counted, clock, 1, [hits(90, chip_id=3, channel_id=0)])
    assert [(one["channel_id"], one["pixel"]) for one in shown.rates()["hot"]] == [(0, 5)]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(0, 100))
def test_words_of_boards_and_of_chips_agree(n_blocks, n_words, seed):
    counted, _ = tally()
    made = blocks(n_blocks, n_messages=3, n_words=n_words, seed=seed)
    counted.add(made)
    words = sum(int((one.arrays.batch.words["kind"] == ord("D")).sum()) for one in made)
    assert counted.n_words == counted.n_counted == words
    assert counted.chips.counts.sum() <= words


def test_every_channel_of_a_chip_has_its_place_on_the_map():
    for n_channels, channel in ((32, 9), (64, 41)):
        rates = np.zeros((3, 128))
        rates[1, channel] = 5.0
        image = chip_map(rates)
        cell = image.shape[1] // 18  # two chips in a row
        bright = np.argwhere((image == chip_map(np.full((1, 128), 5.0))[0, 0]).all(-1))
        row, column = bright.min(0) // cell
        assert (row % (n_channels // 8 + 1), column % 9) == divmod(channel, 8)
        assert len(bright) == cell * cell


def test_many_who_look_cost_as_much_as_one():
    counted, clock = tally()
    shown = Shown(counted)
    seconds(counted, clock, 1, [hits(10)])
    first, picture = shown.glance(), shown.picture()
    counted.add([hits(10)])
    assert shown.glance()["rates"] is first["rates"]
    assert shown.picture() is picture
    assert shown.picture(1) is not picture
    seconds(counted, clock, 1, [hits(50, channel_id=9)])
    assert shown.glance()["words"] == 70
    assert shown.picture() != picture
    counted.clear(3)
    assert (shown.glance()["run"], shown.glance()["words"]) == (3, 0)
