"""The native kernel: what exists for speed.

Every function checks its arguments and raises ValueError for sizes that do not fit the ring; functions
that may take long release the GIL.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

class Slots:
    """A shared ring, mapped; `forebay.ring.slots` says what lies where.

    `owners` is uint64 (module,): the owner word that each module had at release, 0 where it is absent.
    """

    def __init__(self, fd: int, writable: bool) -> None: ...
    @staticmethod
    def format(
        fd: int,
        generation: int,
        n_slots: int,
        n_modules: int,
        n_log: int,
        frame_bytes: int,
        packets_per_module: int,
        header_bytes: int,
        pulse_step: int,
        info: str,
    ) -> int:
        """Size an empty file as a ring and describe it in its first page; return its bytes."""

    def describe(self) -> dict[str, Any]:
        """Return the numbers of the first page by name, and the text ``info``."""

    def touch(self) -> None:
        """Touch every page, so that none costs a fault when data arrive."""

    def write_frame(
        self,
        module: int,
        pulse_id: int,
        time_ns: int,
        header: NDArray[np.uint8],
        frame: NDArray[np.uint8],
        out: NDArray[np.uint8],
    ) -> None:
        """Write one whole frame; `out` receives its ``FRAME`` record."""

    def release(
        self,
        pulse_id: int,
        time_ns: int,
        slot: int,
        owners: NDArray[np.uint64],
        missing: NDArray[np.uint32],
    ) -> int:
        """Append an event to the log and return its number; readers see it after `wake`."""

    def wake(self) -> None:
        """Wake everybody who waits for events."""

    def finish(self, finished: bool) -> None:
        """Say that no more events will be released, or that they will be again; wakes everybody."""

    @property
    def finished(self) -> bool: ...
    @property
    def head(self) -> int:
        """How many events were released."""

    def wait(self, number: int, timeout_s: float) -> bool:
        """Wait until event `number` is released; False if it is not after the time-out or a wake-up."""

    def read_log(
        self, number: int, head: NDArray[np.uint64], owners: NDArray[np.uint64], missing: NDArray[np.uint32]
    ) -> bool:
        """Read an event's record into `head` (pulse id, time, slot), `owners` and `missing`.

        False if the log no longer, or not yet, holds it.
        """

    def event_of(self, pulse_id: int) -> int:
        """Return 1 + the number of the last event that used this pulse's slot; 0 if there was none."""

    def whole(self, slot: int, owners: NDArray[np.uint64]) -> bool:
        """Whether every module still has its owner word: the second look."""

    def copy_pixels(self, slot: int, owners: NDArray[np.uint64], out: NDArray[np.uint8]) -> bool:
        """Copy a slot's pixels, zeros for absent modules; False if they changed meanwhile."""

    def copy_headers(self, slot: int, owners: NDArray[np.uint64], out: NDArray[np.uint8]) -> bool:
        """Copy the detector's headers, as `copy_pixels`."""

    def copy_packet_bits(self, slot: int, owners: NDArray[np.uint64], out: NDArray[np.uint64]) -> bool:
        """Copy one bit a packet (1: it came), each module rounded up to 64 bits, as `copy_pixels`."""

    def pixels(self, slot: int) -> NDArray[np.uint8]:
        """Lend a slot's pixels, read only."""

    def resting(self) -> NDArray[np.uint8]:
        """Return the ``FRAME`` records of every module of every slot that is at rest."""

    def counters(self, block: int, out: NDArray[np.uint64]) -> bool:
        """Read one block of counters; False if its writer died while it wrote them."""

    def set_counters(self, block: int, values: NDArray[np.uint64]) -> None:
        """Write one block of counters."""

class Port:
    """The receiver of one UDP port: one module of a ring."""

    def __init__(
        self,
        slots: Slots,
        fd: int,
        wake_fd: int,
        module: int,
        payload_bytes: int,
        pulse: tuple[int, int, str],
        packet: tuple[int, int, str],
        module_field: tuple[int, int, str],
        module_id: int,
        source: int,
        reorder: int,
        window: int,
        max_rate: float,
        timeout_ns: int,
        idle_ns: int,
        quiet_ns: int,
        queue: int,
    ) -> None: ...
    def run(self) -> None:
        """Receive until `stop`, then drain the socket and close every open frame.

        Holds no Python lock. RuntimeError if the socket fails.
        """

    def stop(self) -> None:
        """Ask `run` to return."""

    def take(self) -> NDArray[np.uint8]:
        """Take the finished frames, as bytes of ``FRAME`` records; one consumer."""

def send_datagrams(fd: int, datagrams: NDArray[np.uint8], segment: bool) -> int:
    """Send all rows of (datagram, byte) on a connected UDP socket; return how many were sent.

    Parameters
    ----------
    segment:
        Hand several datagrams to the kernel as one (UDP_SEGMENT): far cheaper.

    Raises
    ------
    RuntimeError
        If the socket fails.
    """

def receive_datagrams(
    fd: int, rows: NDArray[np.uint8], sizes: NDArray[np.uint32], senders: NDArray[np.uint8]
) -> int:
    """Take the datagrams that wait in a UDP socket, without waiting; return how many there were.

    Parameters
    ----------
    rows:
        (datagram, byte): receives one datagram a row; what is longer than a row is cut.
    sizes:
        (datagram,): receives the length of each datagram as it was sent.
    senders:
        (datagram, 16): receives the sender's IPv6 address; one of IPv4 as ``::ffff:a.b.c.d``.

    Raises
    ------
    RuntimeError
        If the socket fails.
    """
