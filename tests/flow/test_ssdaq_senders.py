"""Who sends what to the assembler of SSDAQ: modules by address, strangers, collisions, odd lengths."""

import socket
import threading
from contextlib import closing

import numpy as np
import pytest
from tests.camera import T0, blocks_of
from tests.one_cpu import one_cpu

from forebay.errors import ConfigError
from forebay.front.ssdaq import SSReadoutAssembler

pytestmark = pytest.mark.flow


class Kept:
    """A publisher of somebody's own."""

    def __init__(self):
        self.readouts = []

    def publish(self, readout):
        self.readouts.append(readout)


class Stand:
    """An assembler in a thread, and senders of any address of this host."""

    def __init__(self, listen_ip="127.0.0.1", **settings):
        self.kept = Kept()
        self._ip = listen_ip
        self._assembler = SSReadoutAssembler(
            listen_ip=listen_ip,
            listen_port=0,
            control="",
            publishers=[self.kept],
            readout_tw=1e6,
            buffer_time=1e9,
            **settings,
        )
        self._thread = threading.Thread(target=self._assembler.run)
        self._thread.start()

    def send(self, source, *datagrams):
        kind = socket.AF_INET6 if ":" in source else socket.AF_INET
        with one_cpu(), socket.socket(kind, socket.SOCK_DGRAM) as out:
            out.bind((source, 0))
            for datagram in datagrams:
                out.sendto(datagram, (self._ip, self._assembler.port))

    def end(self, n_datagrams):
        """Wait until everything came, stop, and return the counters."""
        for _ in range(3000):
            if self._assembler.status()["receiver"]["datagrams"] == n_datagrams:
                break
            threading.Event().wait(0.01)
        self.close()
        status = self._assembler.status()
        self.shared = status["shared_modules"]
        receiver, builder = status["receiver"], status["builder"]
        assert receiver["datagrams"] == n_datagrams
        assert n_datagrams == receiver["used_datagrams"] + receiver["malformed"] + receiver["foreign"]
        assert builder["blocks"] == sum(builder[key] for key in ("used", "late", "duplicate", "implausible"))
        return {name: n for name, n in {**receiver, **builder}.items() if n}

    def close(self):
        self._assembler.stop()
        self._thread.join(20)

    @property
    def modules(self):
        return [np.flatnonzero(one.timestamps[:, 0]).tolist() for one in self.kept.readouts]


def datagram(i, truth=0, n=1):
    """Blocks of readouts `i` and following; the first pixel says `truth`."""
    return blocks_of(T0 + (i + np.arange(n)) * 10**7, truth, 0).tobytes()


@pytest.mark.parametrize(
    ("source", "module"),
    [("127.0.0.101", 1), ("127.0.0.131", 31), ("127.0.0.205", 5), ("127.0.0.1", 1), ("127.0.7.100", 0)],
)
def test_the_last_byte_says_which_module(source, module):
    with closing(Stand()) as stand:
        stand.send(source, datagram(0))
        stand.end(1)
        assert stand.modules == [[module]]


def test_beyond_the_last_module_is_a_stranger():
    with closing(Stand()) as stand:
        stand.send("127.0.0.132", datagram(0), datagram(1))
        stand.send("127.0.0.199", datagram(0))
        stand.send("127.0.0.103", datagram(0))
        counters = stand.end(4)
        assert counters["foreign"] == 3
        assert stand.modules == [[3]]


def test_relaxed_takes_it_modulo_32():
    with closing(Stand(relaxed_ip_range=True)) as stand:
        stand.send("127.0.0.132", datagram(0))
        stand.send("127.0.0.199", datagram(0))
        counters = stand.end(2)
        assert "foreign" not in counters
        assert stand.modules == [[0, 99 % 32]]


@pytest.mark.parametrize("relaxed", [True, False])
def test_two_senders_of_one_module_are_counted_and_never_mixed(relaxed):
    """127.0.0.133 is module 1 too where addresses are taken modulo 32; 127.0.0.201 is so in any case."""
    with closing(Stand(relaxed_ip_range=relaxed)) as stand:
        for i in range(5):
            stand.send("127.0.0.101", datagram(i, truth=7))
            stand.send("127.0.0.133" if relaxed else "127.0.0.201", datagram(i, truth=8))
        counters = stand.end(10)
        assert stand.shared == [1]
        assert (counters["used"], counters["duplicate"]) == (5, 5)
        assert stand.modules == [[1]] * 5
        assert {round(one.data[1, 0] / 0.0763) for one in stand.kept.readouts} == {7}


def test_a_map_names_modules_of_ipv6():
    with closing(Stand("::1", modules={"::1": 9})) as stand:
        stand.send("::1", datagram(0))
        stand.end(1)
        assert stand.modules == [[9]]


def test_a_map_holds_alone():
    with closing(Stand(modules={"127.0.0.9": 30, "127.0.0.8": 0})) as stand:
        stand.send("127.0.0.9", datagram(0))
        stand.send("127.0.0.101", datagram(0))
        assert stand.end(2)["foreign"] == 1
        assert stand.shared == []
        assert stand.modules == [[30]]


def test_a_module_that_got_another_address_shares_it_with_nobody():
    with closing(Stand()) as stand:
        for i, source in enumerate(["127.0.0.103", "127.0.0.103", "127.0.0.203", "127.0.0.203"]):
            stand.send(source, datagram(i))
        assert stand.end(4)["used"] == 4
        assert stand.shared == []


@pytest.mark.parametrize("wrong", [{"here": 1}, {"127.0.0.1": 32}, {"127.0.0.1": 1, "127.0.0.2": 1}])
def test_a_map_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError):
        SSReadoutAssembler(listen_ip="127.0.0.1", listen_port=0, modules=wrong)


@pytest.mark.parametrize("n_bytes", [0, 1, 143, 145, 287, 1439, 1441, 65_507])
def test_a_datagram_of_a_wrong_length(n_bytes):
    """0 bytes passed the test of SSDAQ, and ended its 0.9."""
    with closing(Stand()) as stand:
        stand.send("127.0.0.103", datagram(0), b"\1" * n_bytes, datagram(1))
        counters = stand.end(3)
        assert counters["malformed"] == 1
        assert stand.modules == [[3], [3]]


@pytest.mark.parametrize("n", [1, 2, 10, 454])
def test_a_datagram_of_any_number_of_blocks(n):
    with closing(Stand()) as stand:
        stand.send("127.0.0.103", datagram(0, n=n))
        assert stand.end(1)["used"] == n
        assert stand.modules == [[3]] * n
