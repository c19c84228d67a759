"""Packets one by one, with the attributes of larpix-control's; for people, not for the data path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forebay.wire.larpix import block
from forebay.wire.larpix.row import PACKET_TYPES, SYNC, TIMESTAMP, Rows
from forebay.wire.larpix.word import V1, decode, test_counter

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

    __slots__ = ("_fields", "_says", "chip_key", "type_str")

    def __init__(self, row: Any) -> None:
        self._fields: dict[str, int] = dict(zip(row.dtype.names, row.tolist(), strict=True))
        fields = self._fields
        is_word = fields["packet_type"] < TIMESTAMP
        key = f"{fields['io_group']}-{fields['io_channel']}-{fields['chip_id']}"
        self.chip_key = key if is_word else None
        # Words of version 3 call their data type 1, and have no test packets.
        self._says = 0 if fields["packet_type"] == 1 and "cds_flag" in fields else fields["packet_type"]
        self.type_str = PACKET_TYPES.get(self._says, "unknown")

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
        flags = ("reset_sample_flag", "cds_flag") if self._says != fields["packet_type"] else ()
        return said | {name: fields[name] for name in (*_OF_TYPE.get(self._says, ()), *flags)}

    def __repr__(self) -> str:
        said = self.export()
        said.pop("type_str")
        return f"<{self.type_str}: {', '.join(f'{name} {value}' for name, value in said.items())}>"


def packets_of(rows: Rows) -> Iterator[Packet]:
    """Yield the packets of rows."""
    return map(Packet, rows)


def exports_of_block(records: block.Records) -> list[dict[str, Any]]:
    """Return the packets of a block of larpix-daq as its monitor shows them: words of version 1, timestamps.

    Texts of ``bits`` have the most significant first; ``adc_counts`` is without its lowest bit, as users of
    larpix-control know it.
    """
    values = block.values_of(records)
    columns = {name: column.tolist() for name, column in decode(values, V1).items()}
    counters = test_counter(values).tolist()
    packets = []
    for i, (kind, value) in enumerate(zip(records["kind"].tolist(), values.tolist(), strict=True)):
        if kind == block.TIMESTAMP:
            said = {"type_str": "timestamp", "type": TIMESTAMP, "timestamp": value, "bits": f"{value:056b}"}
        else:
            fields = {name: column[i] for name, column in columns.items()}
            key = f"{records['io_group'][i]}-{records['io_channel'][i]}-{fields['chip_id']}"
            said = {"chip_key": key, "bits": f"{value:0{V1.n_bits}b}", **_export_v1(fields, counters[i])}
        packets.append(said)
    return packets


def _export_v1(fields: dict[str, Any], counter: int) -> dict[str, Any]:
    kind = fields["packet_type"]
    said = {"type_str": PACKET_TYPES[kind], "type": kind, "chipid": fields["chip_id"]}
    said |= {name: fields[name] for name in ("parity", "valid_parity")}
    if kind == 0:
        said |= {"channel": fields["channel_id"], "timestamp": fields["timestamp"]}
        said["adc_counts"] = fields["dataword"] & ~1
        return said | {name: bool(fields[name]) for name in ("fifo_half", "fifo_full")}
    if kind == 1:
        return said | {"counter": counter}
    return said | {"register": fields["register_address"], "value": fields["register_data"]}
