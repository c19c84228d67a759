"""Packets one by one, with the attributes of larpix-control's; for people, not for the data path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forebay.wire.larpix.row import PACKET_TYPES, SYNC, TIMESTAMP, Rows

_OF_TYPE = {
    0: ("channel_id", "timestamp", "first_packet", "dataword", "trigger_type", "local_fifo", "shared_fifo"),
    1: ("counter",),
    2: ("register_address", "register_data"),
    3: ("register_address", "register_data"),
    4: ("timestamp",),
    5: ("counter", "timestamp"),
    6: ("timestamp", "trigger_type", "dataword"),
    7: ("timestamp", "trigger_type"),
}


class Packet:
    """One row of a file as a thing of its own: every column is an attribute, as integer.

    Attributes
    ----------
    chip_key:
        ``GROUP-CHANNEL-CHIP``, or None for what does not come from a chip.
    type_str:
        Name of the packet type.
    """

    __slots__ = ("_fields", "chip_key", "type_str")

    def __init__(self, row: Any) -> None:
        self._fields: dict[str, int] = dict(zip(row.dtype.names, row.tolist(), strict=True))
        fields = self._fields
        is_word = fields["packet_type"] < TIMESTAMP
        key = f"{fields['io_group']}-{fields['io_channel']}-{fields['chip_id']}"
        self.chip_key = key if is_word else None
        self.type_str = PACKET_TYPES.get(fields["packet_type"], "unknown")

    def __getattr__(self, name: str) -> int:
        try:
            return self._fields[name]
        except KeyError:
            raise AttributeError(f"A LArPix packet has no {name!r}.") from None

    @property
    def sync_type(self) -> bytes:
        """``S``, ``H`` or ``C`` of a sync packet, else nothing."""
        return bytes([self.trigger_type]) if self.packet_type == SYNC else b""

    def has_valid_parity(self) -> bool:
        """Whether the number of ones is odd."""
        return bool(self._fields["valid_parity"])

    def export(self) -> dict[str, Any]:
        """Return what the packet says, the fields of its type only."""
        fields = self._fields
        said: dict[str, Any] = {"type_str": self.type_str, "io_group": fields["io_group"]}
        if self.chip_key is not None:
            said |= {
                "chip_key": self.chip_key,
                "io_channel": fields["io_channel"],
                "chip_id": fields["chip_id"],
            }
            said |= {name: fields[name] for name in ("downstream_marker", "parity")}
            said["valid_parity"] = self.has_valid_parity()
        return said | {name: fields[name] for name in _OF_TYPE.get(fields["packet_type"], ())}

    def __repr__(self) -> str:
        said = self.export()
        said.pop("type_str")
        return f"<{self.type_str}: {', '.join(f'{name} {value}' for name, value in said.items())}>"


def packets_of(rows: Rows) -> Iterator[Packet]:
    """Yield the packets of rows."""
    return map(Packet, rows)
