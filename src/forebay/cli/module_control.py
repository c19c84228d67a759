"""The control channels of a simulated camera's modules, answered in one thread beside the sending."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from forebay.sim.camera import Camera
from forebay.sim.camera_control import ModuleControl
from forebay.stream.endpoint import endpoint_of
from forebay.stream.request import Replier

_NAP_S = 0.02
_LOCAL = "127.0.0.1"

Channel = tuple[Replier, Callable[[bytes], bytes]]


@contextmanager
def controlled(camera: Camera, port: int, number: int | None = None) -> Iterator[None]:
    """Answer commands to the modules of a camera while the body runs; with port 0 there are none.

    Each module listens at the address that it sends from; a module without one at 127.0.0.1, where
    there is room for one only.

    Parameters
    ----------
    number:
        What a single module calls itself; None for its place in the camera.

    Raises
    ------
    StreamError
        If a port is in use, or not to be had.
    """
    with ExitStack() as stack:
        channels: list[Channel] = []
        for module in camera.options.modules if port else ():
            address = camera.options.address_of(module) or _LOCAL
            control = ModuleControl(camera, module, module if number is None else number, address)
            replier = Replier(endpoint_of(address, port), other_hosts=True)
            stack.callback(replier.close)
            channels.append((replier, control.answer))
        is_over = threading.Event()
        thread = threading.Thread(target=_serve, args=(channels, is_over), name="control", daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(is_over.set)
        yield


def _serve(channels: Sequence[Channel], is_over: threading.Event) -> None:
    while not is_over.wait(_NAP_S):
        for replier, answer in channels:
            while replier.serve(answer, 0.0):
                pass
