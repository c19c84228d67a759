"""larpix-control 2.3.0 in its own environment, with data servers by ZMQ_IO or MultiZMQ_IO."""

import json
import sys
import time

from larpix.io.multizmq_io import MultiZMQ_IO
from larpix.io.zmq_io import ZMQ_IO
from larpix.larpix import Controller


def drain(controller, enough):
    """Return packets until `enough` of them."""
    found, end = [], time.monotonic() + 20
    while not enough(found) and time.monotonic() < end:
        time.sleep(0.05)
        found += controller.read()[0]
    return found


def main():
    name, configuration, *keys = sys.argv[1:]
    controller = Controller()
    controller.io = io = {"ZMQ_IO": ZMQ_IO, "MultiZMQ_IO": MultiZMQ_IO}[name](configuration)
    said = {"ping": io.ping(), "clock": io.set_clock(5000), "reset": io.reset()}
    for answers in ("clock", "reset"):
        one = said[answers]
        texts = one.values() if isinstance(one, dict) else [one]
        said[answers] = [text.decode() for text in texts]
    chips = [controller.add_chip(key) for key in keys]
    for chip in chips:
        chip.config.global_threshold = 20
        controller.write_configuration(chip.chip_key)
    # It subscribes only when it asks: answers to the first words may come before the server knows.
    said["verified"] = [
        any(controller.verify_configuration(chip.chip_key, timeout=1)[0] for _ in range(3)) for chip in chips
    ]
    controller.reads.clear()
    controller.start_listening()
    packets = drain(controller, lambda found: len(found) > 500)
    controller.stop_listening()
    data = [one for one in packets if hasattr(one, "dataword") and one.packet_type == one.DATA_PACKET]
    times = [one.timestamp for one in packets if type(one).__name__ == "TimestampPacket"]
    said |= {
        "n_data": len(data),
        "good_parity": all(one.has_valid_parity() for one in data),
        "keys": sorted({str(one.chip_key) for one in data}),
        "times": times,
    }
    if name == "ZMQ_IO":
        said["count"] = io.get_packet_count(1)
        said["test_pulse"] = io.set_testpulse_freq(8).decode()
    print(json.dumps(said))


if __name__ == "__main__":
    main()
