"""Judgements on a host: each a pure function of facts, with the command that mends what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from forebay.errors import ForebayError
from forebay.service import host

State = Literal["ok", "warning", "problem"]

IP_AND_UDP_HEADER_BYTES = 28
SLOW_DISK_BYTES_PER_S = 200e6
SWAPPED_BYTES = 64 * 2**20
LARGEST_CLOCK_ERROR_S = 0.1


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name:
        What was looked at, a few words.
    state:
        ``ok``; ``warning``: works, but may lose data under load; ``problem``: will not work.
    found:
        What is there.
    why:
        What goes wrong because of it; empty when ok.
    mend:
        The command that mends it, or what to change; empty when ok.
    """

    name: str
    state: State
    found: str
    why: str = ""
    mend: str = ""


def receive_buffer(asked: int, given: int, frame_bytes: int) -> Finding:
    """Judge the socket buffer that the kernel gives; bytes of it, and of one module's frame."""
    found = f"{_size(given)} of the {_size(asked)} asked for"
    if given >= asked:
        return Finding("receive buffer", "ok", found)
    return Finding(
        "receive buffer",
        "problem" if given < frame_bytes else "warning",
        found,
        "Packets that come while the receiver waits for its core are dropped by the kernel.",
        f"sudo sysctl -w net.core.rmem_max={asked}",
    )


def backlog(length: int | None, packets_per_pulse: int) -> Finding:
    """Judge the queue between the network card and the sockets against the packets of one pulse."""
    name, found = "packet backlog", f"{length} packets"
    if length is None:
        return Finding(name, "ok", "this kernel does not say")
    if length >= packets_per_pulse:
        return Finding(name, "ok", found)
    return Finding(
        name,
        "warning",
        f"{found}, one pulse has {packets_per_pulse}",
        "All modules send at the same moment; what exceeds the queue of a core is dropped.",
        f"sudo sysctl -w net.core.netdev_max_backlog={max(10_000, 4 * packets_per_pulse)}",
    )


def packet_size(
    detector: str, address: str, packet_bytes: int, interfaces: Iterable[host.Interface]
) -> Finding:
    """Judge whether the interface of `address` takes this detector's packets in one piece."""
    name = f"{detector}: packet size"
    needed = packet_bytes + IP_AND_UDP_HEADER_BYTES
    everywhere = address == "0.0.0.0"  # noqa: S104 - compared, not bound
    ours = [one for one in interfaces if everywhere or str(one.address) == address]
    if not ours:
        return Finding(
            name,
            "problem",
            f"no interface has the address {address}",
            "Nothing can be received there.",
            "ip -4 addr  # shows the addresses; correct it in the configuration",
        )
    narrow = [one for one in ours if one.mtu < needed]
    if not narrow:
        return Finding(name, "ok", f"{needed} bytes fit MTU {min(one.mtu for one in ours)}")
    return Finding(
        name,
        "warning" if everywhere and len(narrow) < len(ours) else "problem",
        f"{needed} bytes do not fit MTU {narrow[0].mtu} of {narrow[0].name}",
        "The packets come in fragments or not at all; one lost fragment loses the packet.",
        f"sudo ip link set {narrow[0].name} mtu 9000  # the switch must allow it too",
    )


def clock(facts: host.Clock) -> Finding:
    """Judge whether times in files can be compared with other hosts'."""
    error = f"largest error {facts.largest_error_s:.3g} s"
    if facts.is_synchronised and facts.largest_error_s <= LARGEST_CLOCK_ERROR_S:
        return Finding("clock", "ok", f"synchronised, {error} (kernel, adjtimex)")
    return Finding(
        "clock",
        "warning",
        f"{'synchronised' if facts.is_synchronised else 'not synchronised'}, {error} (kernel, adjtimex)",
        "Times in the files cannot be compared with those of other hosts.",
        "sudo apt-get install chrony  # then: chronyc tracking",
    )


def disk_rate(bytes_per_s: float, image_bytes: int) -> Finding:
    """Judge how fast a synced file is written; `image_bytes` is 0 where no detector is known."""
    found = f"{bytes_per_s / 1e9:.2f} GB/s written and synced"
    if image_bytes:
        found += f", {bytes_per_s / image_bytes:.0f} images/s before compression"
    if bytes_per_s >= SLOW_DISK_BYTES_PER_S:
        return Finding("disk rate", "ok", found)
    return Finding(
        "disk rate",
        "warning",
        found,
        "A recording that is faster than its disk loses what the ring cannot hold.",
        "Set record.directory to a faster disk",
    )


def free_space(free: int, refused_below: int) -> Finding:
    """Judge the free bytes of the disk that is recorded to."""
    if free >= 10 * refused_below:
        return Finding("free space", "ok", _size(free))
    return Finding(
        "free space",
        "problem" if free < refused_below else "warning",
        f"{_size(free)}; recordings are refused below {_size(refused_below)}",
        "A recording ends early when the disk is full.",
        "Move old files away, or set record.directory to another disk",
    )


def writable(directory: Path, exists: bool, allowed: bool) -> Finding:
    """Judge the rights on the record directory or, where it does not exist, on the nearest one above it."""
    if allowed:
        return Finding("record directory", "ok", f"{directory}{'' if exists else ', made when it is needed'}")
    return Finding(
        "record directory",
        "problem",
        f"{directory} may not be {'written' if exists else 'made'}",
        "No file can be written there.",
        f"sudo install -d -o $(id -un) {directory}",
    )


def runtime_directory(directory: Path, owner: int | None, mode: int, uid: int) -> Finding:
    """Judge the directory of the sockets; `owner` is None where it does not exist yet."""
    if owner is None:
        return Finding("runtime directory", "ok", f"{directory}, made at start")
    if owner == uid and not mode & 0o077:
        return Finding("runtime directory", "ok", str(directory))
    return Finding(
        "runtime directory",
        "problem",
        f"{directory} belongs to uid {owner} with mode {mode:o}",
        "Others could take the place of our processes; forebay refuses to start.",
        f"chmod 700 {directory}" if owner == uid else "Set runtime_dir to a directory of your own",
    )


def cores(n_cores: int, load: float, n_ports: int) -> Finding:
    """Judge the cores against one receiving thread a port and what else runs (load of a minute)."""
    found = f"{n_cores} cores, load {load:.1f}, {n_ports} receiving threads"
    if n_cores > n_ports and load < n_cores:
        return Finding("cores", "ok", found)
    return Finding(
        "cores",
        "warning",
        found,
        "A receiving thread that waits for a core loses packets once its socket buffer is full.",
        "Stop what else runs (top), or share the modules out over more hosts",
    )


def ring_memory(needed: int, available: int) -> Finding:
    """Judge the bytes of all rings against those that are available."""
    found = f"rings take {_size(needed)} of {_size(available)} available"
    if needed <= 0.7 * available:
        return Finding("memory for the rings", "ok", found)
    return Finding(
        "memory for the rings",
        "problem" if needed > 0.9 * available else "warning",
        found,
        "The rings are touched whole at start; without memory for them nothing starts.",
        "Set ring.slots of the detectors lower",
    )


def swap(swapped: int) -> Finding:
    """Judge the bytes that went from memory to disk."""
    if swapped <= SWAPPED_BYTES:
        return Finding("swap", "ok", f"{_size(swapped)} in use")
    return Finding(
        "swap",
        "warning",
        f"{_size(swapped)} in use",
        "Pages of a ring may lie on disk; the receiver waits for them and the kernel drops packets.",
        "sudo swapoff -a && sudo swapon -a && sudo sysctl -w vm.swappiness=1",
    )


def governor(governors: set[str]) -> Finding:
    """Judge how the cores choose their frequency."""
    if not governors - {"performance"}:
        return Finding("CPU frequency", "ok", "performance" if governors else "not ours to set")
    return Finding(
        "CPU frequency",
        "warning",
        f"governor {', '.join(sorted(governors))}",
        "Cores that sleep between pulses need time to come back to speed.",
        "sudo cpupower frequency-set -g performance",
    )


def ports(detector: str, n_ports: int, refused: Sequence[ForebayError]) -> Finding:
    """Judge the UDP ports of one detector; `refused` has one error for each that cannot be bound."""
    name = f"{detector}: UDP ports"
    if not refused:
        return Finding(name, "ok", f"{n_ports} {'is' if n_ports == 1 else 'are'} free")
    return Finding(
        name,
        "problem",
        f"{len(refused)} of {n_ports} are not free. {refused[0].what}",
        "While another program has a port, perhaps forebay itself, this detector cannot be received.",
        refused[0].todo,
    )


def tcp_ports(name: str, found: Sequence[tuple[str, str]]) -> Finding:
    """Judge the TCP ports at which one source serves; ADDRESS:PORT and why it cannot, or nothing."""
    refused = [(end, why) for end, why in found if why]
    if not refused:
        return Finding(f"{name}: TCP ports", "ok", f"{', '.join(end for end, _ in found)} can be bound")
    end, why = refused[0]
    return Finding(
        f"{name}: TCP ports",
        "problem",
        f"{len(refused)} of {len(found)} cannot be bound: {end}, {why}",
        "While another program has a port, perhaps forebay itself, nobody can be served there.",
        f"ss -tlpn 'sport = :{end.rpartition(':')[2]}'  # shows who has it; or configure another",
    )


def peers(name: str, found: Sequence[tuple[str, str]]) -> Finding:
    """Judge whether those who send to one source can be reached; ADDRESS:PORT and why not, or nothing."""
    silent = [(end, why) for end, why in found if why]
    if not silent:
        return Finding(f"{name}: senders", "ok", f"{len(found)} ports answer")
    end, why = silent[0]
    return Finding(
        f"{name}: senders",
        "warning",
        f"{len(silent)} of {len(found)} ports do not answer: {end}, {why}",
        "Nothing comes from there before it is switched on and on this network.",
        f"nc -vz {' '.join(end.rsplit(':', 1))}",
    )


def coalescing(supported: bool, release: str) -> Finding:
    """Judge whether the kernel hands over several datagrams at a time."""
    if supported:
        return Finding("kernel", "ok", f"{release}, UDP_GRO")
    return Finding(
        "kernel",
        "warning",
        f"{release}, no UDP_GRO",
        "Receiving costs up to twice the CPU; forebay goes on without it.",
        "Use Linux 5.0 or newer",
    )


def image_filter(error: str, plugin_path: str, has_bitshuffle: bool) -> Finding:
    """Judge the bitshuffle-LZ4 filter, number 32008: ours, and what may take its place in a reader."""
    name = "filter 32008"
    if error:
        return Finding(
            name, "problem", error, "No image can be compressed.", "pip install --force-reinstall hdf5plugin"
        )
    if has_bitshuffle:
        return Finding(
            name,
            "warning",
            "the package bitshuffle is installed beside hdf5plugin",
            "Whoever imports it replaces the filter of the process by one that is ten times slower.",
            f"{sys.executable} -m pip uninstall bitshuffle",
        )
    if plugin_path:
        return Finding(
            name,
            "warning",
            f"HDF5_PLUGIN_PATH is {plugin_path}",
            "HDF5 may take its filters from there, of whatever version they are, instead of hdf5plugin's.",
            "unset HDF5_PLUGIN_PATH",
        )
    return Finding(name, "ok", "compresses and decompresses")


def abandoned(parts: list[Path]) -> Finding:
    """Judge the recordings that were left unfinished."""
    if not parts:
        return Finding("unfinished files", "ok", "none")
    return Finding(
        "unfinished files",
        "warning",
        f"{len(parts)}, the first is {parts[0]}",
        "A recorder was killed; what it had written is in there.",
        "forebay recover " + " ".join(str(part) for part in parts[:5]),
    )


def _size(n_bytes: float) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.4g} {unit}"
    return f"{n_bytes:.0f} bytes"
