"""Packets that the vendor's own detector software sent, recorded, against a plain reading of them."""

import json
import socket
import time
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest
from tests.chain import NAME, Chain

from forebay._native import send_datagrams
from forebay.store.check import check_file
from forebay.wire.eiger import eiger
from forebay.wire.jungfrau import jungfrau
from forebay.wire.packet import PacketLayout, pulse_id_of, split

pytestmark = pytest.mark.compat

VECTORS = Path(__file__).parents[1] / "vectors"
NOT_KEPT = {"packetnum"}  # counts the packets of a frame: it has no value for the frame


def read_plainly(layout: PacketLayout, packets: np.ndarray) -> dict[int, tuple[np.ndarray, np.void]]:
    """Return image and first header of each pulse, by slicing bytes one packet after the other."""
    images: dict[int, tuple[np.ndarray, np.void]] = {}
    for packet in packets:
        header, payload = split(layout, packet.tobytes())
        pulse_id, number = pulse_id_of(layout, header), int(header[layout.packet])
        image, _ = images.setdefault(pulse_id, (np.full(layout.frame_shape, 0xDEAD, layout.pixel), header))
        pixels = np.frombuffer(payload, layout.pixel)
        image.reshape(-1)[number * pixels.size : (number + 1) * pixels.size] = pixels
    return images


def record(chain: Chain, port: int, modules: list[np.ndarray], n_pulses: int):
    with chain, chain.recording("vendor.h5", pulses=f"1..{n_pulses}"):
        for i_module, packets in enumerate(modules):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect(("127.0.0.1", port + i_module))
                send_gently(chain, sock, i_module, np.ascontiguousarray(packets))
    return chain.config.record.directory / "vendor.h5"


def send_gently(chain: Chain, sock: socket.socket, i_module: int, packets: np.ndarray) -> None:
    """Send as many at once as any socket buffer holds, and wait until they were received."""
    end = time.monotonic() + 30
    for start in range(0, len(packets), 8):
        send_datagrams(sock.fileno(), packets[start : start + 8], False)
        while chain.ring.counters()[f"module {i_module}"]["received"] < min(start + 8, len(packets)):
            assert time.monotonic() < end


@pytest.mark.parametrize("detector", ["jungfrau", "eiger"])
def test_recorded_as_sent(detector, tmp_path, tmp_path_factory, free_udp_port):
    with np.load(VECTORS / f"{detector}-virtual" / "packets.npz") as vectors:
        modules = [vectors[name] for name in vectors]
    layout = jungfrau("framenum") if detector == "jungfrau" else eiger(16)
    port = free_udp_port(len(modules))
    options = {"pulse_id": "framenum"} if detector == "jungfrau" else {"bit_depth": 16}
    chain = Chain(
        tmp_path,
        tmp_path_factory.mktemp("r"),
        type=detector,
        n_modules=len(modules),
        start_udp_port=port,
        ring={"slots": 64},
        **options,
    )
    expected = [read_plainly(layout, packets) for packets in modules]
    pulse_ids = sorted(expected[0])
    assert pulse_ids == [1, 2, 3, 4]
    path = record(chain, port, modules, len(pulse_ids))

    with h5py.File(path) as file:
        found = file[f"/entry/instrument/{NAME}"]
        assert found["pulse_id"][:].tolist() == pulse_ids
        assert not found["missing_packets"][:].any()
        assert not found["status"][:].any()
        data = file["/entry/data/data"][:]
        manifest = json.loads(file["/entry/manifest/data"][()])
        for row, pulse_id in enumerate(pulse_ids):
            stacked = np.concatenate([one[pulse_id][0] for one in expected])
            np.testing.assert_array_equal(data[row], stacked)
            for i_module, one in enumerate(expected):
                header = one[pulse_id][1]
                for field in set(layout.header.names) - NOT_KEPT:
                    name = {"framenum": "frame_index"}.get(field, field)
                    name = "daq_rec" if (detector, field) == ("jungfrau", "debug") else name
                    assert found["header"][name][row, i_module] == header[field], (pulse_id, field)
    counted = manifest["counters"]["difference"]["receiver"]
    for i_module, packets in enumerate(modules):
        assert counted[str(port + i_module)]["received"] == len(packets)
        assert counted[str(port + i_module)]["placed"] == len(packets)
    report = check_file(path)
    assert report.is_good, report.problems
