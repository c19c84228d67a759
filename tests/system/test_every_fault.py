"""End to end with every fault at once: each packet is accounted for and each pixel is as sent or 0."""

import json
from collections import Counter

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest
from tests.chain import NAME, Chain

from forebay.sim.detector import Options, run
from forebay.sim.faults import Faults
from forebay.sim.pattern import CYCLE, pattern
from forebay.sim.truth import Truth
from forebay.store.check import check_file
from forebay.wire.eiger import eiger

pytestmark = [pytest.mark.system, pytest.mark.calm, pytest.mark.timeout(600)]

LAYOUT = eiger(8)
N_MODULES = 2
N_PULSES = 10_000
NEAR_A_LEAP = 16
"""Pulses around a leap that may be cut: one port may see it so much earlier than the other."""

LATE = 6
EVERY_FAULT = (
    "loss=0.002 lost_frame=0.002 short=0.0005 long=0.0005 empty=0.0005 wrong_number=0.0005 "
    "wrong_pulse=0.0005 late=0.0005 late_pulses=150 duplicate=0.002 reorder=0.01 "
    "foreign=0.001 garbage=0.001 dead=1:3000..3100"
)
REFUSALS = ("placed", "duplicate", "late", "malformed", "foreign", "overrun")


def record(tmp_path, runtime, port: int, options: Options, **request):
    """Run the chain and the simulator; return file, manifest, counters and what was sent."""
    chain = Chain(
        tmp_path,
        runtime,
        type="eiger",
        bit_depth=8,
        n_modules=N_MODULES,
        start_udp_port=port,
        sources=["127.0.0.1"] * N_MODULES,
        ring={"slots": 6000},
        receive_buffer_bytes=256 * 2**20,
        build={"deadline_s": 2.0, "patience": 600},  # a busy machine may stop a thread for long
    )
    with chain, chain.recording("faults.h5", idle_s=4.0, **request) as manifests:
        sent = run(options)
    return tmp_path / "faults.h5", manifests[0], chain.counters, sent


def make_options(port: int, faults: str, rate_hz: float) -> Options:
    return Options(
        layout=LAYOUT,
        n_modules=N_MODULES,
        start_udp_port=port,
        sources=("127.0.0.1",) * N_MODULES,
        rate_hz=rate_hz,
        burst=1 if not rate_hz else 10,
        count=N_PULSES,
        pattern="ramp",
        faults=Faults.parse([faults]),
    )


def check_sums(counters: dict[str, dict[str, int]]) -> None:
    for module in range(N_MODULES):
        port = counters[f"module {module}"]
        assert port["received"] == sum(port[name] for name in REFUSALS)
    builder = counters["builder"]
    assert builder["frames"] == sum(builder[name] for name in ("used", "late", "duplicate", "implausible"))
    assert builder["events"] * N_MODULES == builder["used"] + builder["missing_frames"]
    assert sum(counters[f"module {m}"]["frames"] for m in range(N_MODULES)) == builder["frames"]


def check_pixels(data: h5py.Dataset, pulse_ids: list[int], lost_of) -> None:
    """Every pixel is what the simulator sent for that pulse, or 0 where its packet is lost."""
    frames = {(t, m): pattern("ramp", LAYOUT, t, m) for t in range(CYCLE) for m in range(N_MODULES)}
    for row, pulse_id in enumerate(pulse_ids):
        image = data[row].reshape(N_MODULES, LAYOUT.packets_per_frame, -1)
        for module in range(N_MODULES):
            lost = lost_of(row, pulse_id, module)
            expected = frames[pulse_id % CYCLE, module].reshape(LAYOUT.packets_per_frame, -1).copy()
            expected[lost] = 0
            np.testing.assert_array_equal(
                image[module], expected, err_msg=f"pulse {pulse_id}, module {module}"
            )


def is_undisturbed(options: Options, counters: dict[str, dict[str, int]], leaps: bool) -> bool:
    """Whether the kernel dropped nothing by itself, and no thread was held up for longer than is waited for.

    Whatever the machine did, every packet that was sent is counted. Where the counter leaps, packets may be
    late by that alone.
    """
    truth = Truth(options)
    n_held_up = 0
    for module in range(N_MODULES):
        port, totals = counters[f"module {module}"], truth.totals(module)
        assert port["received"] + port["kernel_drop"] == totals["received"]
        n_held_up += port["kernel_drop"]
        if not leaps:
            n_held_up += port["late"] + port["duplicate"] - totals["late"] - totals["duplicate"]
    return not n_held_up and counters["builder"]["late"] <= (NEAR_A_LEAP if leaps else LATE)


def record_undisturbed(tmp_path, tmp_path_factory, free_udp_port, faults: str, rates, leaps="", **request):
    """Record at the first of these rates at which this machine disturbs nothing."""
    for attempt, rate_hz in enumerate(rates):
        port = free_udp_port(N_MODULES)
        options = make_options(port, f"{faults} {leaps}", rate_hz)
        directory = tmp_path / str(attempt)
        directory.mkdir()
        result = record(directory, tmp_path_factory.mktemp("r"), port, options, **request)
        counters = result[2]
        check_sums(counters)
        if is_undisturbed(options, counters, bool(leaps)):
            return options, *result
    pytest.fail(f"this machine loses packets at {rate_hz} pulses a second (see forebay doctor): {counters}")


def test_every_hurt_pulse_is_flagged_and_no_other(tmp_path, tmp_path_factory, free_udp_port):
    """As fast as it goes; slower only if the kernel of this machine drops packets by itself."""
    options, file, manifest, counters, sent = record_undisturbed(
        tmp_path,
        tmp_path_factory,
        free_udp_port,
        EVERY_FAULT,
        (0, 2000, 1000, 500, 250),
        pulses=f"1..{N_PULSES}",
    )
    truth = Truth(options)
    for module in range(N_MODULES):
        counted, totals = counters[f"module {module}"], truth.totals(module)
        assert counted["received"] == totals["received"] == sent.packets_by_module[module]
        for name in ("malformed", "foreign"):
            assert counted[name] == totals[name]
        assert counted["placed"] == totals["sent"]
        # a duplicate that comes when its frame was closed without that packet is late
        assert counted["duplicate"] + counted["late"] == totals["duplicate"] + totals["late"]
    missing = truth.missing()
    wholly_lost = (missing == LAYOUT.packets_per_frame).all(axis=1)
    pulse_ids = [beat.pulse_id for beat, lost in zip(truth.beats, wholly_lost, strict=True) if not lost]
    (account,) = manifest.sources.values()
    assert account.got + account.missing.n == N_PULSES
    assert account.overwritten.n == account.not_written.n == 0
    with h5py.File(file) as opened:
        found = opened[f"/entry/instrument/{NAME}"]
        assert found["pulse_id"][:].tolist() == pulse_ids
        np.testing.assert_array_equal(found["missing_packets"][:], missing[~wholly_lost])
        check_pixels(
            found["data"], pulse_ids, lambda _row, pulse_id, module: truth.plan(pulse_id, module).fate != 0
        )
    report = check_file(file, skip=("missing-pulses", "incomplete-images"))
    assert report.is_good, report.problems[:5]
    print(json.dumps({"rate_hz": options.rate_hz, "seconds": sent.elapsed_s, **sent.by_fault}))


def test_restarts_and_jumps_of_the_counter_are_followed(tmp_path, tmp_path_factory, free_udp_port):
    """Besides all other faults; only the two frames that a restart without a pause costs may be missing."""
    leaps = "restart=3000:1:2.5 restart=3000:10 jump=2000:500000"
    options, file, _, _, _ = record_undisturbed(
        tmp_path,
        tmp_path_factory,
        free_udp_port,
        EVERY_FAULT,
        (1000, 1000, 500, 250),
        leaps,
        images=N_PULSES,
    )
    truth = Truth(options)
    sent = [(beat.epoch, beat.pulse_id) for beat in truth.beats]
    with h5py.File(file) as opened:
        found = opened[f"/entry/instrument/{NAME}"]
        pulse_ids = found["pulse_id"][:].tolist()
        missing = found["missing_packets"][:]
        epochs = np.cumsum(np.r_[0, np.abs(np.diff(np.array(pulse_ids, np.int64)) - 1) > 500])
        got = list(zip(epochs.tolist(), pulse_ids, strict=True))
        assert Counter(got).most_common(1)[0][1] == 1
        assert set(got) <= set(sent)
        assert set(epochs.tolist()) == {0, 1, 2, 3}
        row_of = {key: row for row, key in enumerate(got)}
        epoch_of = np.array([beat.epoch for beat in truth.beats])
        leaps_at = np.flatnonzero(np.diff(epoch_of)) + 1
        for i, (beat, row_missing) in enumerate(zip(truth.beats, truth.missing(), strict=True)):
            row = row_of.get((beat.epoch, beat.pulse_id))
            if (row_missing == LAYOUT.packets_per_frame).all():
                assert row is None
            elif np.min(np.abs(leaps_at - i)) <= NEAR_A_LEAP:
                continue  # the ports do not see a leap at the same moment: frames around it may be cut
            else:
                assert row is not None, (beat.epoch, beat.pulse_id)
                np.testing.assert_array_equal(missing[row], row_missing, err_msg=f"{beat}, the {i}th")
        data = found["data"]

        def lost_of(row: int, pulse_id: int, module: int) -> np.ndarray:
            lost = truth.plan(pulse_id, module, int(epochs[row])).fate != 0
            if np.count_nonzero(lost) != missing[row, module]:  # cut by the leap: no packet is all zeros
                lost = ~data[row].reshape(N_MODULES, LAYOUT.packets_per_frame, -1)[module].any(axis=1)
            assert np.count_nonzero(lost) == missing[row, module]
            return lost

        check_pixels(data, pulse_ids, lost_of)
