"""What stands between this host and lossless recording: reads the facts and has each of them judged."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np

from forebay.assemble.receiver import open_port
from forebay.config import Config, DetectorConfig, RecordConfig
from forebay.errors import ConfigError, ForebayError
from forebay.service import findings as judge
from forebay.service import host
from forebay.service.doctor_ends import ends
from forebay.service.findings import Finding
from forebay.service.tables import packet_layout
from forebay.wire.compress import compress, decompress
from forebay.wire.packet import PacketLayout

DISK_TEST_BYTES = 256 * 2**20
DEFAULT_BUFFER_BYTES = 64 * 2**20

Detectors = Mapping[str, DetectorConfig]


def diagnose(config: Config | None = None) -> list[Finding]:
    """Look at this host with the eyes of `config`; without one, at what every recording needs.

    Writes at most `DISK_TEST_BYTES` into the record directory, in a file that has no name.
    """
    return list(_findings(config or Config()))


def _findings(config: Config) -> Iterator[Finding]:
    packets = {name: packet_layout(detector) for name, detector in config.detectors.items()}
    image_bytes = {name: packets[name].frame_bytes * one.n_modules for name, one in config.detectors.items()}
    yield from _software()
    yield from _network(config, packets)
    yield from ends(config)
    yield from _machine(config.detectors, image_bytes)
    yield _runtime(config.runtime_dir)
    yield from _disk(config.record, max(image_bytes.values(), default=0))


def _software() -> Iterator[Finding]:
    yield _versions()
    plugin_path = os.environ.get("HDF5_PLUGIN_PATH", "")
    yield judge.image_filter(_filter_error(), plugin_path, find_spec("bitshuffle") is not None)
    yield judge.coalescing(host.has_udp_gro(), platform.release())


def _network(config: Config, packets: Mapping[str, PacketLayout]) -> Iterator[Finding]:
    detectors = config.detectors
    wanted = [one.receive_buffer_bytes for one in detectors.values()]
    wanted += [one.receive_buffer_bytes for one in config.cameras.values()]
    asked = max(wanted, default=DEFAULT_BUFFER_BYTES)
    frame_bytes = max((layout.frame_bytes for layout in packets.values()), default=0)
    yield judge.receive_buffer(asked, _given(asked), frame_bytes)
    of_a_pulse = sum(packets[name].packets_per_frame * one.n_modules for name, one in detectors.items())
    yield judge.backlog(host.sysctl("net.core.netdev_max_backlog"), of_a_pulse)
    for name, one in detectors.items():
        yield judge.packet_size(name, str(one.address), packets[name].packet_bytes, host.interfaces())
        yield judge.ports(name, one.n_modules, list(_refused(one)))
    yield judge.clock(host.clock())


def _given(asked: int) -> int:
    sock, buffered = open_port(IPv4Address("127.0.0.1"), 0, asked)
    sock.close()
    return buffered.given


def _refused(detector: DetectorConfig) -> Iterator[ConfigError]:
    for i_module in range(detector.n_modules):
        try:
            sock, _ = open_port(detector.address, detector.start_udp_port + i_module, 2**16)
        except ConfigError as error:
            yield error
        else:
            sock.close()


def _machine(detectors: Detectors, image_bytes: Mapping[str, int]) -> Iterator[Finding]:
    n_ports = sum(one.n_modules for one in detectors.values())
    yield judge.cores(len(os.sched_getaffinity(0)), os.getloadavg()[0], n_ports)
    yield judge.governor(host.governors())
    memory = host.memory()
    rings = (one.ring.slots * image_bytes[name] for name, one in detectors.items())
    yield judge.ring_memory(sum(rings), memory.available_bytes)
    yield judge.swap(memory.swapped_bytes)


def _disk(record: RecordConfig, image_bytes: int) -> Iterator[Finding]:
    directory = record.directory.absolute()
    there = next(path for path in (directory, *directory.parents) if path.is_dir())
    allowed = os.access(there, os.W_OK | os.X_OK)
    free = shutil.disk_usage(there).free
    yield judge.writable(directory, there == directory, allowed)
    yield judge.free_space(free, record.min_free_bytes)
    if allowed and free > 2 * DISK_TEST_BYTES:
        yield judge.disk_rate(host.write_rate(there, DISK_TEST_BYTES), image_bytes)
    yield judge.abandoned(list(host.abandoned_parts(directory)))


def _runtime(directory: Path) -> Finding:
    try:
        status = directory.stat()
    except FileNotFoundError:
        return judge.runtime_directory(directory, None, 0, os.getuid())
    return judge.runtime_directory(directory, status.st_uid, stat.S_IMODE(status.st_mode), os.getuid())


def _versions() -> Finding:
    found = [f"Python {platform.python_version()}"]
    for package in ("forebay", "numpy", "h5py", "hdf5plugin", "pyzmq"):
        try:
            found.append(f"{package} {installed_version(package)}")
        except PackageNotFoundError:
            return Finding(
                "versions",
                "problem",
                f"{package} is not installed",
                "forebay cannot work without it.",
                f"{sys.executable} -m pip install {package}",
            )
    return Finding("versions", "ok", ", ".join(found))


def _filter_error() -> str:
    sample = np.arange(100_000, dtype=np.uint16)
    try:
        back = decompress(compress(sample), sample.shape, sample.dtype)
    except ForebayError as error:
        return str(error)
    return "" if np.array_equal(back, sample) else "what was compressed came back different"
