"""The native receiver on loopback sockets: every packet is accounted for and lies where it belongs."""

import socket
import time
from ipaddress import IPv4Address

import numpy as np
import pytest
from tests.one_cpu import one_cpu

from forebay._native import send_datagrams
from forebay.assemble.receiver import Receiver, ReceiveRules, open_port
from forebay.errors import ConfigError
from forebay.event import Event
from forebay.ring.shared import RingShape, SharedRing
from forebay.ring.slots import FRAME
from forebay.wire.eiger import eiger
from forebay.wire.jungfrau import jungfrau
from forebay.wire.packet import PacketLayout, join

pytestmark = pytest.mark.flow

LOOPBACK = IPv4Address("127.0.0.1")
SMALL = eiger(8)  # 32 packets a frame


class Bench:
    """A ring, a receiver and a sender."""

    def __init__(self, runtime, layout: PacketLayout, start_port: int, n_slots=64, pulse_step=1, **rules):
        self.layout = layout
        self.ring = SharedRing.create("bench", layout, RingShape(n_slots, 1, pulse_step), runtime)
        self.sources: list[IPv4Address] = rules.pop("sources", [])
        defaults = {"window": 16, "timeout_s": 30.0, "idle_s": 30.0, "quiet_s": 30.0}
        start, buffer = rules.pop("start", True), rules.pop("receive_buffer_bytes", 2**22)
        module_ids = rules.pop("module_ids", ())
        self.receiver = Receiver(
            self.ring,
            layout,
            LOOPBACK,
            start_port,
            self.sources,
            ReceiveRules(**defaults | rules),
            buffer,
            module_ids,
        )
        if start:
            self.receiver.start()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((str(LOOPBACK), start_port))
        self.frames = np.empty(0, FRAME)
        self.n_sent = 0

    def packets(self, pulse_id: float, fill: int | None = None) -> np.ndarray:
        layout = self.layout
        headers = np.zeros(layout.packets_per_frame, layout.header)
        headers[layout.pulse_id] = pulse_id
        headers[layout.packet] = np.arange(layout.packets_per_frame)
        value = int(pulse_id) % 251 + 1 if fill is None else fill
        return join(layout, headers, np.full(layout.frame_shape, value, layout.pixel))

    def send(self, rows: np.ndarray, segment: bool = False) -> None:
        with one_cpu():
            self.n_sent += send_datagrams(self.socket.fileno(), np.ascontiguousarray(rows), segment)
        self.settle()

    def send_bytes(self, datagram: bytes) -> None:
        self.socket.send(datagram)
        self.n_sent += 1
        self.settle()

    def settle(self) -> None:
        """Wait until everything sent was seen: one step after the other, as the tests tell it."""
        self.wait_for(lambda: self.counters["received"] >= self.n_sent)

    def be_quiet(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.wait_for(lambda: time.monotonic() > end)

    def wait_for(self, condition) -> None:
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, self.counters
            self.frames = np.concatenate([self.frames, self.receiver.read(0.001)])

    @property
    def counters(self) -> dict[str, int]:
        return self.ring.counters()["module 0"]

    def stop(self) -> np.ndarray:
        self.frames = np.concatenate([self.frames, self.receiver.stop()])
        c = self.counters
        parts = ("placed", "duplicate", "late", "malformed", "foreign", "overrun")
        assert c["received"] == sum(c[name] for name in parts) == self.n_sent
        assert c["frames"] == len(self.frames)
        return self.frames

    def event(self, frame: np.ndarray) -> Event:
        number = self.ring.slots.release(
            int(frame["pulse_id"]),
            int(frame["time_ns"]),
            int(frame["slot"]),
            np.array([frame["owner"]], np.uint64),
            np.array([frame["missing_packets"]], np.uint32),
        )
        return self.ring.event(number)

    def close(self) -> None:
        self.receiver.stop()
        self.socket.close()
        self.ring.close()


@pytest.fixture
def bench(tmp_path_factory, free_udp_port):
    made = []

    def make(layout=SMALL, **options):
        runtime = tmp_path_factory.mktemp("r")
        runtime.chmod(0o700)
        made.append(Bench(runtime, layout, free_udp_port(), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("segment", [False, True])
def test_frames_in_any_packet_order_are_whole_and_in_place(bench, segment):
    b = bench(jungfrau("framenum"))
    rng = np.random.default_rng(1)
    images = {}
    for pulse_id in range(1, 6):
        rows = b.packets(pulse_id)
        rows[:, 48:] = rng.integers(0, 256, rows[:, 48:].shape)
        images[pulse_id] = rows[:, 48:].reshape(-1).view("<u2").reshape(512, 1024).copy()
        b.send(rng.permutation(rows), segment)
    frames = b.stop()
    assert frames["pulse_id"].tolist() == [1, 2, 3, 4, 5]
    assert not frames["missing_packets"].any()
    for frame in frames:
        e = b.event(frame)
        np.testing.assert_array_equal(e.arrays["data"], images[e.pulse_id])
        assert e.arrays["header"]["framenum"][0] == e.pulse_id
        assert e.arrays["packets"].all()


def test_missing_packets_are_zero_never_the_pixels_before(bench):
    b = bench(n_slots=32)
    for pulse_id in range(1, 33):
        b.send(b.packets(pulse_id, fill=7))
    b.send(np.delete(b.packets(33, fill=9), [0, 31], axis=0))  # the slot of pulse 1
    frame = b.stop()[-1]
    assert frame["pulse_id"] == 33
    assert frame["missing_packets"] == 2
    e = b.event(frame)
    pixels = e.arrays["data"].reshape(32, -1)
    assert not pixels[[0, 31]].any()
    assert (pixels[1:31] == 9).all()
    assert np.flatnonzero(~e.arrays["packets"][0]).tolist() == [0, 31]
    assert b.counters["missing_packets"] == 2
    assert b.counters["incomplete_frames"] == 1


def test_duplicates_change_nothing(bench):
    b = bench()
    rows = b.packets(1)
    b.send(rows[:10])
    b.send(b.packets(1, fill=200)[:10])  # the same packets with other pixels: the first ones stay
    b.send(rows[10:])
    b.send(b.packets(1, fill=201)[3:4])  # after the frame was closed
    e = b.event(b.stop()[0])
    np.testing.assert_array_equal(e.arrays["data"], 2)
    assert b.counters["duplicate"] == 11


def test_late_packets_never_touch_what_was_released(bench):
    b = bench(reorder=1)
    b.send(b.packets(1)[:-1])
    b.send(b.packets(2)[:-1])
    b.send(b.packets(3)[:-1])  # the third open frame: pulse 1 is closed as it stands
    b.send(b.packets(1)[-1:])
    assert b.counters["late"] == 1
    b.send(b.packets(19)[:1])
    b.send(b.packets(0)[:1])  # further behind than the window
    assert b.counters["late"] == 2
    frames = b.stop()
    assert frames["pulse_id"].tolist()[:3] == [1, 2, 3]
    assert not b.event(frames[0]).arrays["packets"][0][-1]


def test_an_incomplete_frame_does_not_wait_for_its_time_when_newer_ones_are_whole(bench):
    b = bench(reorder=2)
    b.send(b.packets(1)[:5])
    for pulse_id in (2, 3, 4):
        b.send(b.packets(pulse_id))
    b.wait_for(lambda: len(b.frames) == 4)
    assert b.frames["pulse_id"].tolist() == [2, 3, 1, 4]


def test_frames_may_overlap(bench):
    b = bench(reorder=2)
    first, second = b.packets(1), b.packets(2)
    b.send(first[:20])
    b.send(second[:20])
    b.send(first[20:])
    b.send(second[20:])
    frames = b.stop()
    assert frames["pulse_id"].tolist() == [1, 2]
    assert not frames["missing_packets"].any()


def test_a_frame_is_closed_when_its_time_is_over(bench):
    b = bench(timeout_s=0.05)
    b.send(b.packets(1)[:5])
    b.wait_for(lambda: len(b.frames))
    assert b.frames["missing_packets"].tolist() == [27]
    b.stop()


def test_a_frame_is_closed_when_others_go_on_without_it(bench):
    b = bench(idle_s=0.05)
    b.send(b.packets(1)[:5])
    b.be_quiet(0.1)
    assert not len(b.frames), "a sender that pauses ends no frame"
    b.send(b.packets(2))
    b.wait_for(lambda: len(b.frames) == 2)
    missing = dict(zip(b.frames["pulse_id"].tolist(), b.frames["missing_packets"].tolist(), strict=True))
    assert missing == {1: 27, 2: 0}
    b.stop()


def test_a_sender_may_pause_in_the_middle_of_a_frame(bench):
    b = bench(idle_s=0.01)
    b.send(b.packets(1)[:5])
    b.be_quiet(0.1)
    b.send(b.packets(1)[5:])
    assert not b.stop()["missing_packets"].any()
    assert b.counters["late"] == 0


@pytest.mark.parametrize(
    ("datagram", "name"),
    [
        (b"", "empty"),
        (b"x", "one byte"),
        (b"\xff" * SMALL.packet_bytes, "right length, packet number out of range"),
        (b"\0" * (SMALL.packet_bytes - 1), "short"),
        (b"\0" * (SMALL.packet_bytes + 1), "long"),
        (b"\0" * 65507, "as long as can be"),
    ],
)
def test_malformed_packets_are_counted_and_change_nothing(bench, datagram, name):
    b = bench()
    b.send(b.packets(5)[:16])
    b.send_bytes(datagram)
    b.send(b.packets(5)[16:])
    assert b.counters["malformed"] == 1, name
    np.testing.assert_array_equal(b.event(b.stop()[0]).arrays["data"], 6)


@pytest.mark.parametrize("pulse_id", [float("nan"), float("inf"), -1.0, 2.0**53, 1.5])
def test_a_double_that_is_no_pulse_id_is_malformed(bench, pulse_id):
    b = bench(jungfrau("bunchid"))
    rows = b.packets(7.0)
    headers = rows[:1, :48].copy().view(b.layout.header)
    headers["bunchid"] = pulse_id
    bad = rows[:1].copy()
    bad[:, :48] = headers.view(np.uint8)
    b.send(rows)
    b.send(bad)
    assert b.counters["malformed"] == 1
    assert b.stop()["pulse_id"].tolist() == [7]


def test_negative_integer_pulse_ids_and_ids_between_steps_are_malformed(bench):
    b = bench(jungfrau("bunchid-int64"), pulse_step=10)
    b.send(b.packets(100)[:1])
    b.send(b.packets(-1)[:1])
    b.send(b.packets(101)[:1])
    assert b.counters["malformed"] == 2


def test_foreign_senders_are_counted(bench):
    b = bench(sources=[IPv4Address("127.0.0.2")])
    b.send(b.packets(1))
    assert b.counters["foreign"] == SMALL.packets_per_frame
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind(("127.0.0.2", 0))
    own.connect(b.socket.getpeername())
    b.n_sent += send_datagrams(own.fileno(), b.packets(1), False)
    own.close()
    b.settle()
    assert b.stop()["missing_packets"].tolist() == [0]


def test_packets_of_another_module_are_foreign(bench):
    b = bench(module_ids=[7])
    rows = b.packets(1)
    b.send(rows)  # module 0
    assert b.counters["foreign"] == len(rows)
    headers = rows[:, :48].copy().view(b.layout.header)
    headers["module_id"] = 7
    rows[:, :48] = headers.view(np.uint8)
    b.send(rows)
    assert b.stop()["missing_packets"].tolist() == [0]


@pytest.mark.parametrize("again", [1, 40, 998, 50_000])
def test_a_restarted_counter_is_followed_at_once_after_quiet(bench, again):
    b = bench(quiet_s=0.05)
    for pulse_id in range(1000, 1040):
        b.send(b.packets(pulse_id))
    b.be_quiet(0.1)
    b.send(b.packets(again))
    b.send(b.packets(again + 1))
    frames = b.stop()
    assert frames["pulse_id"].tolist()[-2:] == [again, again + 1]
    assert not frames["missing_packets"].any()
    assert b.counters["followed"] == 1 if again != 50_000 else b.counters["followed"] <= 1


def test_the_very_same_pulses_again_after_quiet_are_new_frames(bench):
    b = bench(quiet_s=0.05)
    for _ in range(2):
        for pulse_id in (1, 2, 3):
            b.send(b.packets(pulse_id))
        b.be_quiet(0.1)
    frames = b.stop()
    assert frames["pulse_id"].tolist() == [1, 2, 3, 1, 2, 3]
    assert frames["epoch"].tolist() == [0, 0, 0, 1, 1, 1]


def test_the_rest_of_a_frame_that_was_given_up_is_no_restart(bench):
    """Its sender was held up for longer than anybody waits; the pulse must not come a second time."""
    b = bench(timeout_s=0.02, quiet_s=0.05)
    b.send(b.packets(1))
    b.send(b.packets(2)[:5])
    b.wait_for(lambda: len(b.frames) == 2)
    b.be_quiet(0.1)
    b.send(b.packets(2)[5:])
    b.send(b.packets(3))
    assert b.stop()["pulse_id"].tolist() == [1, 2, 3]
    assert (b.counters["late"], b.counters["followed"]) == (27, 0)


@pytest.mark.parametrize("again", [1, 90_000])
def test_a_restart_without_quiet_costs_two_frames(bench, again):
    b = bench()
    for pulse_id in range(50_000, 50_010):
        b.send(b.packets(pulse_id))
    for pulse_id in range(again, again + 6):
        b.send(b.packets(pulse_id))
    frames = b.stop()
    assert frames["pulse_id"].tolist()[10:] == [again + i for i in (2, 3, 4, 5)]
    assert b.counters["followed"] == 1


def test_noise_from_far_away_does_not_carry_the_port_off(bench):
    b = bench()
    rng = np.random.default_rng(2)
    for pulse_id in range(1, 50):
        b.send(b.packets(pulse_id)[:16])
        for stray in rng.integers(10**6, 10**12, 3):
            b.send(b.packets(int(stray))[:1])
        b.send(b.packets(pulse_id)[16:])
    frames = b.stop()
    assert frames["pulse_id"].tolist() == list(range(1, 50))
    assert not frames["missing_packets"].any()
    assert b.counters["malformed"] == 49 * 3


def test_a_stray_packet_from_before_a_restart_does_not_carry_the_port_off(bench):
    b = bench()
    for pulse_id in range(1, 10):
        b.send(b.packets(pulse_id)[:16])
        b.send(b.packets(5000)[:1])
        b.send(b.packets(pulse_id)[16:])
    assert b.stop()["missing_packets"].tolist() == [0] * 9
    assert b.counters["malformed"] == 9


def test_a_gap_as_long_as_the_silence_is_no_jump(bench):
    b = bench()
    b.send(b.packets(1))
    b.be_quiet(0.1)
    b.send(b.packets(500))
    assert b.stop()["pulse_id"].tolist() == [1, 500]
    assert b.counters["followed"] == b.counters["malformed"] == 0


def test_counters_say_what_the_kernel_dropped(bench):
    b = bench(start=False, receive_buffer_bytes=2**18)
    given = b.receiver.buffers[0].given
    assert b.receiver.buffers[0].asked == 2**18
    n_too_many = 2 * given // SMALL.packet_bytes + 10  # the kernel counts its own overhead, too
    send_datagrams(b.socket.fileno(), np.repeat(b.packets(1), n_too_many // 32 + 1, axis=0), False)
    sent = 32 * (n_too_many // 32 + 1)
    b.receiver.start()  # what was dropped behind the last packet that had room is counted, too
    b.wait_for(lambda: b.counters["kernel_drop"] > 0)
    assert b.counters["received"] + b.counters["kernel_drop"] == sent
    b.n_sent = b.counters["received"]
    b.stop()


def test_a_taken_port_says_how_to_find_who_has_it(free_udp_port):
    port = free_udp_port()
    sock, _ = open_port(LOOPBACK, port, 2**16)
    with pytest.raises(ConfigError, match=f"UDP port {port} of 127.0.0.1 .*ss -ulpn"):
        open_port(LOOPBACK, port, 2**16)
    sock.close()


def test_a_window_that_the_ring_cannot_hold_is_refused(bench):
    with pytest.raises(ValueError, match="twice as many slots"):
        bench(n_slots=8, window=16)
