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

class OpenReadouts:
    """The readouts of a camera that wait for their modules; `forebay.assemble.timed` says what is done.

    Every block finds the readout that is nearest within a window: the configured one, or half of the
    distance of readouts as it is seen from the modules. Positions count from the oldest one. One thread
    adds and takes; everything may be asked from any.
    """

    def __init__(
        self,
        window_ns: int,
        buffer_ns: int,
        buffer_length: int,
        max_jump_ns: int,
        patience: int,
        expected: int,
        is_named: bool,
    ) -> None: ...
    def __len__(self) -> int:
        """How many are open."""

    def add(
        self, modules: NDArray[np.int64], blocks: NDArray[np.uint8], arrived_ns: int, now_ns: int
    ) -> None:
        """Put blocks into their readouts, or refuse them.

        Parameters
        ----------
        modules:
            (block,) 0 .. 31.
        blocks:
            The bytes of ``forebay.wire.target.BLOCK`` of each, in the order of arrival.
        """

    def n_done(self, now_ns: int) -> int:
        """Return how many of the oldest readouts need not wait for any module.

        None while only one readout can have come: the next one shows how close they lie.
        """

    @property
    def alive(self) -> int:
        """Modules of a complete readout, one bit each: those named, or heard lately."""

    def overdue(self, since_ns: int) -> list[int]:
        """Return the positions of readouts that were opened at `since_ns` or before."""

    def state(self, position: int) -> tuple[int, int, int]:
        """Return time tag, time of opening, and the modules that are there, one bit each."""

    def drop(self, positions: list[int]) -> None:
        """Forget readouts, positions in rising order; their blocks count as implausible."""

    def take(self, number: int, out: NDArray[np.uint8]) -> tuple[int, int]:
        """Move the oldest readouts to `out`, bytes of ``forebay.wire.ssreadout.READOUT``.

        The first of them is given `number`.

        Returns
        -------
        How many blocks they have, and how many of them lack an expected module.
        """

    def release(self, now_ns: int, number: int) -> tuple[NDArray[np.uint8], int, int] | None:
        """Take each readout that is done, bytes of ``forebay.wire.ssreadout.READOUT``; the first is `number`.

        Returns
        -------
        They, how many blocks they have, and how many of them lack an expected module. Nothing where it is to
        be decided first what becomes of refused blocks, overdue readouts, or too many of them.
        """

    @property
    def has_refused(self) -> bool:
        """Whether blocks were refused."""

    def take_refused(self) -> NDArray[np.uint8]:
        """Take the refused blocks, as bytes of ``forebay.assemble.suspects.REFUSED``."""

    def take_heard(self) -> int:
        """Return the modules of which a block was used since the last call, one bit each."""

    def trace(self, on: bool) -> None:
        """Keep a line for each block that comes from now on, until `take_trace` takes it, or none."""

    def take_trace(self) -> NDArray[np.uint8]:
        """Take the lines, as bytes of ``forebay.service.block_log.LINE``."""

    def restart(self, newest_ns: int, n_again: list[int]) -> None:
        """Begin anew at a time tag.

        So many refused blocks of each reason come again, and are counted when they do.
        """

    def modules(self) -> tuple[list[int], list[int], list[int]]:
        """Return, for each module, blocks used, newest time tag (-1 before the first), when that was."""

    def counters(self) -> list[int]:
        """Return blocks, used, late, duplicate, implausible."""

class BlockPort:
    """The UDP port of a camera: receives, tells modules by their addresses, and fills readouts.

    Parameters
    ----------
    of_last_byte:
        (256,) module of an address of IPv4 by its last byte, -1 for none.
    addresses, modules:
        (address, 16), (address,): addresses as IPv6 that are looked up before that.
    """

    def __init__(
        self,
        fd: int,
        of_last_byte: NDArray[np.int8],
        addresses: NDArray[np.uint8],
        modules: NDArray[np.int8],
    ) -> None: ...
    def fill(self, readouts: OpenReadouts, timeout_ns: int, gather_ns: int) -> tuple[bool, bool]:
        """Take datagrams until a readout is done, something is to be decided, or the time is over.

        Holds no Python lock. With `timeout_ns` 0 it takes what is there. Unless `gather_ns` is 0 it looks
        seldom, for many datagrams together cost far less: when the oldest readout is likely to be complete,
        by what was seen of those before it; and where it is not, and there are more than 6000 datagrams a
        second, `gather_ns` after the last look.

        Returns
        -------
        Whether anything came, and whether something is due: a readout done or overdue, a refused block.

        Raises
        ------
        RuntimeError
            If the socket fails.
        """

    def counters(self) -> list[int]:
        """Return datagrams, used, malformed, foreign, bytes."""

    def datagrams_of_module(self) -> list[int]:
        """Return the whole datagrams of each module."""

    def changes_of_module(self) -> list[int]:
        """Return how often each module's address was another than that of its datagram before."""

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
