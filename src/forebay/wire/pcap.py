"""The classic pcap file: datagrams with their times, as tcpdump and Wireshark read and write them.

Source: draft-ietf-opsawg-pcap (file), tcpdump.org "Link-layer header types", RFC 791 (IPv4), RFC 768
(UDP). IPv4 only. IP fragments are counted, not put together: record with a large enough MTU.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from forebay.errors import WireError

Address = tuple[str, int]
"""IPv4 address in dotted form and UDP port."""

_MAGICS: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
"""First four bytes: byte order of the file's numbers and ns of its smaller time unit."""

_PCAPNG: Final = b"\x0a\x0d\x0d\x0a"
_MAX_RECORD_BYTES: Final = 262_144
_RAW: Final = 101
_IPV4: Final = 228
_ETHERNET: Final = 1
_LINUX_COOKED: Final = 113
_LINUX_COOKED_2: Final = 276
_LINK_TYPES: Final = (_RAW, _IPV4, _ETHERNET, _LINUX_COOKED, _LINUX_COOKED_2)
_ETHERTYPE_IPV4: Final = b"\x08\x00"
_ETHERTYPES_VLAN: Final = (b"\x81\x00", b"\x88\xa8")
_UDP: Final = 17
_IP_BYTES: Final = 20
_UDP_BYTES: Final = 8
MAX_PAYLOAD_BYTES: Final = 65535 - _IP_BYTES - _UDP_BYTES
"""Most that one datagram carries."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram and when it passed, in ns since 1970, UTC."""

    time_ns: int
    source: Address
    destination: Address
    payload: bytes


@dataclass(slots=True)
class Skipped:
    """What a file held beside whole UDP datagrams, in records.

    Attributes
    ----------
    not_udp:
        Other protocols, IPv6 too.
    fragments:
        Parts of datagrams that IP had to split.
    cut:
        Recorded shorter than they were.
    malformed:
        Lengths that contradict each other.
    """

    not_udp: int = 0
    fragments: int = 0
    cut: int = 0
    malformed: int = 0


def read(blocks: Iterable[bytes], skipped: Skipped | None = None) -> Iterator[Datagram]:
    """Yield the UDP datagrams of a file that comes in blocks of any size, in the order of the file.

    Both byte orders, us and ns; links raw IP, IPv4, Ethernet (VLAN tags too) and Linux cooked.

    Parameters
    ----------
    skipped:
        Counts the records that are no whole UDP datagram.

    Raises
    ------
    WireError
        If this is no pcap file, the link is another, a record cannot be that long, or the file ends
        inside a record: what came before has been yielded.
    """
    skipped = skipped if skipped is not None else Skipped()
    taker = _Taker(blocks)
    head = taker.take(24, "file header")
    if head[:4] == _PCAPNG:
        raise WireError(
            "This is a pcapng file.", "Convert it: editcap -F nsecpcap IN OUT, or tcpdump -r IN -w OUT."
        )
    if head[:4] not in _MAGICS:
        raise WireError(f"This is no pcap file: it begins with {head[:4].hex()}.")
    order, unit_ns = _MAGICS[head[:4]]
    link = struct.unpack_from(order + "I", head, 20)[0] & 0xFFFF
    if link not in _LINK_TYPES:
        raise WireError(
            f"Link type {link} is not known.", f"Record with one of {', '.join(map(str, _LINK_TYPES))}."
        )
    record = struct.Struct(order + "IIII")
    while not taker.at_end():
        seconds, fraction, n_stored, n_original = record.unpack(taker.take(16, "record header"))
        if n_stored > _MAX_RECORD_BYTES:
            raise WireError(f"A record of {n_stored} bytes: at most {_MAX_RECORD_BYTES} are possible.")
        data = taker.take(n_stored, "record")
        packet = _unlink(link, data)
        datagram = None if packet is None else _datagram(packet, n_original > n_stored, skipped)
        if packet is None:
            skipped.not_udp += 1
        if datagram is not None:
            yield Datagram(seconds * 10**9 + fraction * unit_ns, *datagram)


def file_header() -> bytes:
    """Return the first 24 bytes of a file with times in ns and raw IP packets."""
    return struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, _MAX_RECORD_BYTES, _RAW)


def record(datagram: Datagram) -> bytes:
    """Return one datagram as a record for after `file_header`, with IPv4 and UDP headers made for it.

    Raises
    ------
    WireError
        If the payload is longer than `MAX_PAYLOAD_BYTES`, or an address, port or time cannot be written.
    """
    n_udp = _UDP_BYTES + len(datagram.payload)
    n_ip = _IP_BYTES + n_udp
    if len(datagram.payload) > MAX_PAYLOAD_BYTES:
        raise WireError(
            f"A datagram carries at most {MAX_PAYLOAD_BYTES} bytes, this one {len(datagram.payload)}."
        )
    seconds, ns = divmod(datagram.time_ns, 10**9)
    addresses = _packed(datagram.source[0]) + _packed(datagram.destination[0])
    try:
        ports = struct.pack(">HHH", datagram.source[1], datagram.destination[1], n_udp)
        head = struct.pack("<IIII", seconds, ns, n_ip, n_ip)
    except struct.error as error:
        raise WireError(
            f"Ports {datagram.source[1]}, {datagram.destination[1]} or time {datagram.time_ns} ns "
            "cannot be written: ports have 16 bits, seconds since 1970 have 32."
        ) from error
    ip = struct.pack(">BBHHHBB", 0x45, 0, n_ip, 0, 0x4000, 64, _UDP)
    ip_sum = _checksum(ip + b"\0\0" + addresses)
    pseudo = addresses + struct.pack(">HH", _UDP, n_udp)
    udp_sum = _checksum(pseudo + ports + b"\0\0" + datagram.payload) or 0xFFFF
    return b"".join((head, ip, ip_sum.to_bytes(2), addresses, ports, udp_sum.to_bytes(2), datagram.payload))


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071): words of any order and even size, folded at the end."""
    words = np.frombuffer(data + bytes(-len(data) % 4), "<u4")
    folded = int(words.sum(dtype=np.uint64)) % 0xFFFF or 0xFFFF  # all zeros do not occur in a header
    return 0xFFFF - int.from_bytes(folded.to_bytes(2, "little"))


class _Taker:
    """Takes exact numbers of bytes from blocks of any size."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._buffer = b""
        self._at = 0

    def at_end(self) -> bool:
        return not self._fill(1)

    def take(self, n_bytes: int, what: str) -> bytes:
        if not self._fill(n_bytes):
            raise WireError(
                f"The file ends inside a {what}: {len(self._buffer) - self._at} of {n_bytes} bytes are there."
            )
        self._at += n_bytes
        return self._buffer[self._at - n_bytes : self._at]

    def _fill(self, n_bytes: int) -> bool:
        if len(self._buffer) - self._at >= n_bytes:
            return True
        parts, have = [self._buffer[self._at :]], len(self._buffer) - self._at
        while have < n_bytes and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            have += len(block)
        self._buffer, self._at = b"".join(parts), 0
        return have >= n_bytes


def _unlink(link: int, data: bytes) -> bytes | None:
    """Return the IPv4 packet inside a link's frame; None if it is none."""
    if link in (_RAW, _IPV4):
        return data if data[:1] and data[0] >> 4 == 4 else None
    type_at, start = {_ETHERNET: (12, 14), _LINUX_COOKED: (14, 16), _LINUX_COOKED_2: (0, 20)}[link]
    while link != _LINUX_COOKED_2 and data[type_at : type_at + 2] in _ETHERTYPES_VLAN:
        type_at, start = type_at + 4, start + 4
    return data[start:] if data[type_at : type_at + 2] == _ETHERTYPE_IPV4 else None


def _datagram(packet: bytes, is_cut: bool, skipped: Skipped) -> tuple[Address, Address, bytes] | None:
    """Return source, destination and payload of an IPv4 packet, or count why there are none."""
    if len(packet) < _IP_BYTES:
        _count_short(is_cut, skipped)
        return None
    if packet[0] >> 4 != 4 or packet[9] != _UDP:
        skipped.not_udp += 1
        return None
    if int.from_bytes(packet[6:8]) & 0x3FFF:  # more fragments, or an offset
        skipped.fragments += 1
        return None
    start = 4 * (packet[0] & 0xF)
    n_udp = int.from_bytes(packet[start + 4 : start + 6])
    n_ip = int.from_bytes(packet[2:4])
    if start < _IP_BYTES or start + _UDP_BYTES > n_ip or not _UDP_BYTES <= n_udp <= n_ip - start:
        _count_short(is_cut and len(packet) < start + _UDP_BYTES, skipped)
        return None
    if len(packet) < start + n_udp:
        _count_short(is_cut, skipped)
        return None
    source, destination = struct.unpack_from(">HH", packet, start)
    payload = packet[start + _UDP_BYTES : start + n_udp]
    return (_dotted(packet[12:16]), source), (_dotted(packet[16:20]), destination), payload


def _count_short(is_cut: bool, skipped: Skipped) -> None:
    if is_cut:
        skipped.cut += 1
    else:
        skipped.malformed += 1


@lru_cache(maxsize=4096)
def _dotted(address: bytes) -> str:
    return ".".join(map(str, address))


@lru_cache(maxsize=4096)
def _packed(address: str) -> bytes:
    parts = address.split(".")
    if len(parts) != 4 or not all(p.isascii() and p.isdecimal() and int(p) < 256 for p in parts):
        raise WireError(f"{address!r} is not an IPv4 address.")
    return bytes(map(int, parts))
