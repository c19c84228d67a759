"""larpix-control reads our files and writes its own; only this file imports larpix, in its own process."""

import json
import random
import sys

NAMES = (
    "io_group",
    "io_channel",
    "chip_id",
    "packet_type",
    "downstream_marker",
    "parity",
    "channel_id",
    "channel",  # of chips of version 1
    "timestamp",
    "first_packet",
    "dataword",
    "trigger_type",
    "local_fifo",
    "shared_fifo",
    "register_address",
    "register_data",
    "direction",
    "receipt_timestamp",
)


def said(packet):
    """Return what a packet of larpix-control says, as JSON can say it."""
    fields = {"class": type(packet).__name__}
    for name in NAMES:
        value = getattr(packet, name, None)
        if value is not None:
            fields[name] = value[0] if isinstance(value, bytes) else int(value)
    if fields["class"] == "Packet_v2":
        fields["valid_parity"] = bool(packet.has_valid_parity())
    if fields["class"] == "SyncPacket":
        fields |= {"sync_type": packet.sync_type.decode(), "clk_source": int(packet.clk_source)}
    if fields["class"] == "MessagePacket":
        fields["message"] = packet.message
    return fields


def read_packets(path):
    from larpix.format.hdf5format import from_file

    found = from_file(path, load_configs=from_file(path, end=0)["version"] == "2.4")
    chips = [
        {
            "chip_key": str(chip.chip_key),
            "threshold_global": chip.config.threshold_global,
            "pixel_trim_dac": list(chip.config.pixel_trim_dac),
        }
        for chip in found.get("configs", ())
    ]
    print(json.dumps({"packets": [said(one) for one in found["packets"]], "chips": chips}))


def read_raw(path):
    from larpix.format.rawhdf5format import from_rawfile, len_rawfile

    found = from_rawfile(path)
    messages = [bytes(one).hex() for one in found["msgs"]]
    groups = [int(one) for one in found["msg_headers"]["io_groups"]]
    print(json.dumps({"n": len_rawfile(path), "messages": messages, "io_groups": groups}))


def convert(raw, packets):
    """Convert as its own script does: parse every message, and write the packets."""
    from larpix.format.hdf5format import to_file
    from larpix.format.pacman_msg_format import parse
    from larpix.format.rawhdf5format import from_rawfile

    found = from_rawfile(raw)
    groups = found["msg_headers"]["io_groups"]
    made = [
        one
        for message, group in zip(found["msgs"], groups, strict=True)
        for one in parse(bytes(message), io_group=int(group))
    ]
    to_file(packets, made, workers=1)


def write(packets, raw, n):
    """Write files of random packets; what is in them is printed."""
    from larpix.format.hdf5format import to_file
    from larpix.format.pacman_msg_format import format as as_message
    from larpix.format.rawhdf5format import to_rawfile

    from larpix import Key, Packet_v2, SyncPacket, TimestampPacket, TriggerPacket

    draw = random.Random(5)
    made = [TimestampPacket(1_700_000_000)]
    for _ in range(int(n)):
        one = Packet_v2()
        one.chip_key = Key(draw.randint(1, 4), draw.randint(1, 32), draw.randint(2, 254))
        one.packet_type = draw.choice((0, 0, 0, 2, 3))
        if one.packet_type == 0:
            one.channel_id, one.dataword = draw.randint(0, 63), draw.randint(0, 255)
            one.timestamp, one.trigger_type = draw.randint(0, 2**31 - 1), draw.randint(0, 3)
            one.local_fifo, one.shared_fifo = draw.randint(0, 3), draw.randint(0, 3)
        else:
            one.register_address, one.register_data = draw.randint(0, 236), draw.randint(0, 255)
        one.assign_parity()
        one.direction = 1
        one.receipt_timestamp = draw.randint(0, 2**32 - 1)
        made.append(one)
    made.append(SyncPacket(sync_type=b"S", timestamp=10_000_000, clk_source=1, io_group=2))
    made.append(TriggerPacket(trigger_type=b"\x02", timestamp=4095, io_group=1))
    to_file(packets, made, workers=1)
    messages = [as_message(made[i : i + 10], "DATA", ts_pacman=7) for i in range(0, len(made), 10)]
    to_rawfile(raw, messages, msg_headers={"io_groups": [1 + i % 4 for i in range(len(messages))]})
    print(json.dumps({"packets": [said(one) for one in made], "messages": [one.hex() for one in messages]}))


def board(configuration):
    """Configure a chip behind a board, read it back and take data for a while."""
    import time
    from collections import Counter

    from larpix.io import PACMAN_IO

    from larpix import Controller, Key

    controller = Controller()
    controller.io = PACMAN_IO(config_filepath=configuration)
    io = controller.io
    io.double_send_packets = False
    is_there = io.ping(io_group=1)
    io.set_reg(0x10, 5, io_group=1)
    chip = controller.add_chip(Key(1, 1, 11), version=2)
    chip.config.threshold_global = 41
    chip.config.channel_mask = [0] * 63 + [1]
    controller.write_configuration(chip.chip_key)
    is_written, wrong = controller.verify_configuration(chip.chip_key, timeout=2)
    controller.start_listening()
    packets, end = [], time.monotonic() + 20
    while len(packets) < 1000 and time.monotonic() < end:
        time.sleep(0.1)
        packets += controller.read()[0]
    controller.stop_listening()
    kinds = Counter(type(one).__name__ for one in packets)
    hits = [one for one in packets if type(one).__name__ == "Packet_v2" and one.packet_type == 0]
    print(
        json.dumps(
            {
                "is_there": bool(is_there),
                "register": io.get_reg(0x10, io_group=1),
                "is_written": bool(is_written),
                "wrong": str(wrong),
                "kinds": kinds,
                "good_parity": all(one.has_valid_parity() for one in hits),
                "channels": sorted({one.channel_id for one in hits if one.chip_id == 11}),
            }
        )
    )


if __name__ == "__main__":
    ACTIONS = {"packets": read_packets, "raw": read_raw, "convert": convert, "write": write, "board": board}
    ACTIONS[sys.argv[1]](*sys.argv[2:])
