"""The receive service: owns a detector's ring and fills it, and says which frames are done."""

from __future__ import annotations

import threading
import time

from forebay.assemble.receiver import Receiver
from forebay.config import Config
from forebay.ring.shared import RingShape, SharedRing
from forebay.service.counted import counted
from forebay.service.port_buffer import warn_if_small
from forebay.service.process import notify, say
from forebay.service.tables import detector_config, packet_layout, receive_rules
from forebay.stream.endpoint import ipc
from forebay.stream.frames import FramePusher

_READ_TIMEOUT_S = 0.1


def receive(config: Config, name: str, stop: threading.Event) -> None:
    """Receive detector `name` until `stop`, then drain what is in flight.

    Raises
    ------
    ConfigError, RingError, StreamError
        If a port is taken, the ring's name is in use, or the memory is not there.
    """
    detector = detector_config(config, name)
    layout = packet_layout(detector)
    shape = RingShape(detector.ring.slots, detector.n_modules, detector.build.pulse_step)
    began = time.monotonic()
    ring = SharedRing.create(name, layout, shape, config.runtime_dir)
    say("ring ready", bytes=ring.total_bytes, slots=ring.n_slots, seconds=time.monotonic() - began)
    try:
        receiver = Receiver(
            ring,
            layout,
            detector.address,
            detector.start_udp_port,
            detector.sources,
            receive_rules(detector),
            detector.receive_buffer_bytes,
            detector.module_ids,
        )
        for buffer in receiver.buffers[:1]:
            warn_if_small(buffer)
        endpoint = ipc(config.runtime_dir, f"{name}.frames")
        pusher = FramePusher(endpoint, ring=name, generation=ring.generation)
        try:
            receiver.start()
            notify("READY=1")
            say("receiving", address=detector.address, port=detector.start_udp_port, modules=ring.n_modules)
            with counted(lambda: pusher.counters):
                while not stop.is_set():
                    pusher.write(receiver.read(_READ_TIMEOUT_S))
        finally:
            pusher.write(receiver.stop())
            pusher.close(linger=2.0)
            for module, counters in ring.counters().items():
                if module != "builder":
                    say("received", module=module.split()[1], **counters)
            say("handed over", **pusher.counters)
    finally:
        ring.close()
