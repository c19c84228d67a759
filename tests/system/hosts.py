"""Other hosts on this machine: network namespaces with an address and a host name of their own.

```python
with Network() as network:
    alpha = network.host("alpha")
    subprocess.run([*alpha.before, "hostname"])     # alpha-...
    alpha.cut()                                     # its cable is pulled
    alpha.join()
```
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import subprocess
from dataclasses import dataclass

from tests import isolation
from tests.leaks import NETWORKS

_MTU = 9000
"""Jumbo frames, as in every network of detectors."""


def missing() -> str:
    """Return why there can be no other hosts here; empty if there can be some."""
    if os.getuid():
        return "only root may make network namespaces"
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "iproute2 or util-linux is not installed (no ip or unshare): apt-get install iproute2"
    name = f"fb{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no right to make network namespaces: {made.stderr.strip()}"
    _ip("netns", "delete", name)
    return ""


@dataclass(frozen=True)
class Host:
    """A host: what it is called, where it is reached.

    Attributes
    ----------
    before:
        What to put before a command so that it runs there.
    """

    name: str
    address: str
    before: list[str]
    cable: str

    def cut(self) -> None:
        """Pull its cable: what is sent to it or by it is lost."""
        _ip("link", "set", self.cable, "down")

    def join(self) -> None:
        """Plug it in again."""
        _ip("link", "set", self.cable, "up")


class Network:
    """A network of hosts beside this one; nothing of it is left behind, if their processes have ended.

    Attributes
    ----------
    address:
        Of this host in it.
    """

    def __init__(self) -> None:
        self._mark = secrets.token_hex(3)
        self._bridge = f"fb{self._mark}"
        self._prefix = f"198.18.{random.randrange(256)}"  # kept free for tests of networks: RFC 2544
        self.address = f"{self._prefix}.1"
        self._hosts: list[Host] = []
        self._note = isolation.enter() / NETWORKS / self._mark

    def __enter__(self) -> Network:
        self._note.parent.mkdir(exist_ok=True)
        self._note.touch()
        _ip("link", "add", self._bridge, "mtu", _MTU, "type", "bridge")
        _ip("address", "add", f"{self.address}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self._hosts:
            _ip("netns", "delete", host.name)  # and with it its end of the cable, and with that the other
        _ip("link", "delete", self._bridge)
        self._note.unlink()

    def host(self, name: str) -> Host:
        """Make a host whose name begins with `name`."""
        number = len(self._hosts) + 1
        full, cable = f"{name}-{self._mark}", f"{self._bridge}-{number}"
        address = f"{self._prefix}.{number + 1}"
        there = [shutil.which("ip") or "ip", "netns", "exec", full]
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', full]
        host = Host(full, address, [*there, *named], cable)
        _ip("netns", "add", full)
        self._hosts.append(host)
        _ip("link", "add", cable, "mtu", _MTU, "type", "veth", "peer", "name", "eth0", "netns", full)
        _ip("link", "set", cable, "master", self._bridge, "up")
        for words in (
            ("address", "add", f"{address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "mtu", _MTU, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", full, *words)
        return host


def _ip(*words: object) -> None:
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(map(str, words))}: {done.stderr}"
