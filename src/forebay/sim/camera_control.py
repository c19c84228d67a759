"""The control channel of a simulated module, in the words of SSDAQ's simulator."""

from __future__ import annotations

from collections.abc import Callable

from forebay.errors import ConfigError
from forebay.sim.camera import Camera
from forebay.wire.plain_pickle import Plain, encode

PORT = 30001
"""Where the original listens."""


class ModuleControl:
    """Answers the commands for one module; from any thread.

    Rates are those of the original: datagrams a second. A camera has one for all its modules.

    Parameters
    ----------
    number:
        What the module calls itself.
    address:
        The same, as its address; only told.
    """

    def __init__(self, camera: Camera, module: int, number: int, address: str) -> None:
        self._camera = camera
        self._module = module
        self._who: dict[str, Plain] = {"name": f"TM:{number}", "ip": address}
        self._commands: dict[str, Callable[[list[str]], Plain]] = {
            "available_cmds": lambda _: list(self._commands),
            "ping": lambda _: "Ping!",
            "send_ss_data": self._send_ss_data,
            "is_sending_ss_data": lambda _: module not in camera.silent,
            "change_rate": self._change_rate,
            "get_rate": lambda _: camera.rate_hz / camera.options.packed,
            "get_npackets_sent": lambda _: camera.datagrams_of_module[module],
        }

    def answer(self, message: bytes) -> bytes:
        """Carry out one command and return the reply, a pickle of name, ip, status and msg.

        Whatever comes is answered; the status of what cannot be done is ``Error``.
        """
        command, *arguments = message.decode("ascii", "replace").split() or [""]
        if command not in self._commands:
            return self._reply(
                "Error", f"No command `{command[:40]}`; there are {', '.join(self._commands)}."
            )
        try:
            return self._reply("OK", self._commands[command](arguments))
        except (ConfigError, ValueError) as error:
            return self._reply("Error", str(error))

    def _reply(self, status: str, said: Plain) -> bytes:
        return encode({**self._who, "status": status, "msg": said})

    def _send_ss_data(self, arguments: list[str]) -> str:
        match arguments:
            case ["true" | "True"]:
                self._camera.silent.discard(self._module)
            case ["false" | "False"]:
                self._camera.silent.add(self._module)
            case _:
                raise ValueError("send_ss_data takes true or false")
        return f"send_ss_data set to: {self._module not in self._camera.silent}"

    def _change_rate(self, arguments: list[str]) -> str:
        try:
            (rate_hz,) = map(float, arguments)
        except ValueError:
            raise ValueError("change_rate takes a number, the datagrams a second") from None
        self._camera.change_rate(rate_hz * self._camera.options.packed)
        return f"New rate set to {rate_hz:f} Hz"
