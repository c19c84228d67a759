"""The pcap codec: what it writes it reads, others' files too, and hostile bytes only raise WireError."""

import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import WireError
from forebay.wire import pcap
from forebay.wire.pcap import Datagram, Skipped

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parents[1] / "vectors" / "pcap" / "chec_golden.pcap"

addresses = st.tuples(
    st.lists(st.integers(0, 255), min_size=4, max_size=4).map(lambda b: ".".join(map(str, b))),
    st.integers(0, 65535),
)
datagrams = st.builds(
    Datagram, st.integers(0, 2**32 * 10**9 - 1), addresses, addresses, st.binary(max_size=300)
)
ONE = Datagram(1_700_000_000_123_456_789, ("10.0.0.1", 4000), ("10.0.0.2", 50100), b"odd payload")


def file_of(*many: Datagram) -> bytes:
    return pcap.file_header() + b"".join(map(pcap.record, many))


def packet_of(datagram: Datagram) -> bytes:
    return pcap.record(datagram)[16:]


def other_file(
    packet: bytes, *, order="<", magic=0xA1B2C3D4, link=101, cut: int = 0, fraction=123_456
) -> bytes:
    n = len(packet)
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    return head + struct.pack(order + "IIII", 1_700_000_000, fraction, n - cut, n) + packet[: n - cut]


def ones_complement_sum(data: bytes) -> int:
    """Add 16-bit words as RFC 1071 says, plainly."""
    total = 0
    for (word,) in struct.iter_unpack(">H", data + b"\0" * (len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.lists(datagrams, max_size=5), st.integers(1, 400))
def test_what_is_written_is_read(many, block):
    data = file_of(*many)
    skipped = Skipped()
    assert list(pcap.read([data[i : i + block] for i in range(0, len(data), block)], skipped)) == many
    assert skipped == Skipped()


@given(datagrams)
def test_checksums_are_right(datagram):
    packet = packet_of(datagram)
    assert ones_complement_sum(packet[:20]) == 0xFFFF
    pseudo = packet[12:20] + struct.pack(">HH", 17, len(packet) - 20)
    assert ones_complement_sum(pseudo + packet[20:]) == 0xFFFF
    assert packet[26:28] != b"\0\0"


def test_checksum_of_zero_is_sent_as_ones():
    plain = Datagram(0, ("0.0.0.0", 0), ("0.0.0.0", 0), b"\0\0")
    left = 0xFFFF - (17 + 10 + 10)
    assert packet_of(Datagram(0, *(("0.0.0.0", 0),) * 2, left.to_bytes(2)))[26:28] == b"\xff\xff"
    assert packet_of(plain)[26:28] == left.to_bytes(2)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_byte_orders_and_time_units(order, magic, unit):
    (found,) = pcap.read([other_file(packet_of(ONE), order=order, magic=magic)])
    assert found == Datagram(1_700_000_000 * 10**9 + 123_456 * unit, ONE.source, ONE.destination, ONE.payload)


@pytest.mark.parametrize(
    ("link", "before"),
    [
        (101, b""),
        (228, b""),
        (1, bytes(12) + b"\x08\x00"),
        (1, bytes(12) + b"\x81\x00\x00\x05\x08\x00"),
        (1, bytes(12) + b"\x88\xa8\x00\x05\x81\x00\x00\x05\x08\x00"),
        (113, bytes(14) + b"\x08\x00"),
        (276, b"\x08\x00" + bytes(18)),
    ],
)
def test_link_types(link, before):
    skipped = Skipped()
    (found,) = pcap.read([other_file(before + packet_of(ONE) + b"\0" * 7, link=link)], skipped)
    assert (found.source, found.destination, found.payload) == (ONE.source, ONE.destination, ONE.payload)
    assert skipped == Skipped()


def changed(at: int, value: bytes) -> bytes:
    packet = packet_of(ONE)
    return packet[:at] + value + packet[at + len(value) :]


@pytest.mark.parametrize(
    ("packet", "cut", "expected"),
    [
        (changed(9, b"\x06"), 0, Skipped(not_udp=1)),
        (changed(0, b"\x65"), 0, Skipped(not_udp=1)),
        (changed(6, b"\x20\x00"), 0, Skipped(fragments=1)),
        (changed(6, b"\x00\x05"), 0, Skipped(fragments=1)),
        (packet_of(ONE), 3, Skipped(cut=1)),
        (packet_of(ONE), 30, Skipped(cut=1)),
        (packet_of(ONE), 15, Skipped(cut=1)),
        (changed(24, b"\x00\x07"), 0, Skipped(malformed=1)),
        (changed(24, b"\xff\xff"), 0, Skipped(malformed=1)),
        (changed(2, b"\x00\x10"), 0, Skipped(malformed=1)),
        (changed(0, b"\x41"), 0, Skipped(malformed=1)),
        (packet_of(ONE)[:-1], 0, Skipped(malformed=1)),
        (packet_of(ONE)[:10], 0, Skipped(malformed=1)),
        (b"", 0, Skipped(not_udp=1)),
    ],
)
def test_what_is_no_whole_datagram_is_counted(packet, cut, expected):
    skipped = Skipped()
    assert list(pcap.read([other_file(packet, cut=cut)], skipped)) == []
    assert skipped == expected


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 of 24"),
        (b"\x0a\x0d\x0d\x0a" + bytes(30), "pcapng.*editcap"),
        (b"PK\x03\x04" + bytes(30), "no pcap file"),
        (other_file(b"", link=147), "Link type 147"),
        (file_of(ONE)[:-1], "ends inside a record:"),
        (file_of(ONE)[:30], "ends inside a record header"),
        (pcap.file_header() + struct.pack("<IIII", 0, 0, 2**31, 2**31), "2147483648 bytes"),
    ],
)
def test_hostile_file_is_explained(data, said):
    with pytest.raises(WireError, match=said):
        list(pcap.read([data]))


def test_what_came_before_the_damage_is_read():
    found = []
    with pytest.raises(WireError):
        found.extend(pcap.read([file_of(ONE, ONE, ONE)[:-5]]))
    assert found == [ONE, ONE]


@given(st.data())
def test_damaged_bytes_raise_only_wire_errors(data):
    good = bytearray(file_of(ONE, ONE))
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    good = good[: data.draw(st.integers(0, len(good)))]
    try:
        list(pcap.read([bytes(good)]))
    except WireError:
        return


@given(st.binary(max_size=400), st.sampled_from([1, 101, 113, 228, 276]))
def test_random_packets_raise_nothing(packet, link):
    skipped = Skipped()
    found = list(pcap.read([other_file(packet, link=link)], skipped))
    assert len(found) + skipped.not_udp + skipped.fragments + skipped.cut + skipped.malformed == 1


@pytest.mark.parametrize(
    ("datagram", "said"),
    [
        (Datagram(0, ONE.source, ONE.destination, bytes(65508)), "65507"),
        (Datagram(-1, ONE.source, ONE.destination, b""), "-1 ns"),
        (Datagram(0, ("10.0.0.1", 70_000), ONE.destination, b""), "70000"),
        (Datagram(0, ("10.0.0.256", 1), ONE.destination, b""), "10.0.0.256"),
        (Datagram(0, ("host", 1), ONE.destination, b""), "'host'"),
    ],
)
def test_what_cannot_be_written_is_explained(datagram, said):
    with pytest.raises(WireError, match=said):
        pcap.record(datagram)


def test_largest_datagram_goes_both_ways():
    largest = Datagram(1, ONE.source, ONE.destination, bytes(65507))
    assert list(pcap.read([file_of(largest)])) == [largest]


def test_file_that_tcpdump_wrote():
    skipped = Skipped()
    found = list(pcap.read([GOLDEN.read_bytes()], skipped))
    assert len(found) == 167
    assert skipped == Skipped()
    assert {d.source[0] for d in found} == {f"127.0.0.{100 + m}" for m in range(32)}
    assert {d.destination for d in found} == {("127.0.0.1", 2209)}
    assert [len(found[0].payload), len(found[1].payload), len(found[2].payload)] == [144, 144, 1440]
    assert all(a.time_ns <= b.time_ns for a, b in pairwise(found))
