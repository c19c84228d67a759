"""Messages of a camera's other streams as their users know them: fields are attributes, and keys as well."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, Self

from forebay.wire import cdts

_EMPTY: dict[str, Any] = {"text": "", "bool": False, "float": 0.0, "messages": (), "packed": ()}


class Record(dict[str, Any]):
    """A message as a dictionary of the fields that were sent, each an attribute, too.

    A field that was not sent is, as an attribute, what protobuf gives: 0, an empty text, an empty message;
    the keys are those that were sent.
    """

    schema: ClassVar[cdts.Schema] = {}

    @classmethod
    def of(cls, schema: cdts.Schema, values: dict[str, Any]) -> Record:
        """Return what `forebay.wire.cdts.decode` returned as a record of a schema without a name."""
        found = Record(values)
        found.__dict__["schema"] = schema
        return found

    @classmethod
    def unpack(cls, message: bytes) -> Self:
        """Return the record of a message.

        Raises
        ------
        forebay.errors.WireError
            If it is no such message.
        """
        return cls(cdts.decode(cls.schema, message))

    def pack(self) -> bytes:
        """Return the message; raises `forebay.errors.WireError` if a field must be there and is not."""
        return cdts.encode(self.schema, self)

    def __getattr__(self, name: str) -> Any:
        for field in self.schema.values():
            if field.name == name:
                break
        else:
            raise AttributeError(f"A {type(self).__name__} has no field {name!r}.")
        if field.kind == "message":
            return Record.of(field.schema or {}, self.get(name, {}))
        if field.kind == "messages":
            return [Record.of(field.schema or {}, one) for one in self.get(name, ())]
        return self[name] if name in self else _EMPTY.get(field.kind, 0)


class LogData(Record):
    """A log record."""

    schema = cdts.LOG


class TriggerMessage(Record):
    """The time stamp of a trigger; `type` and `status` are 1 and 5 unless they were sent."""

    schema = cdts.TRIGGER_MESSAGE

    def __getattr__(self, name: str) -> Any:
        if name in ("type", "status") and name not in self:
            return 1 if name == "type" else 5
        return super().__getattr__(name)


class MonitorData(Record):
    """How a receiver is."""

    schema = cdts.MONITOR


class TelData(Record):
    """Where the telescope points to."""

    schema = cdts.TELESCOPE


def log_record(message: bytes) -> logging.LogRecord:
    """Return a log record of the camera as one of Python's, which its formatters print.

    Raises
    ------
    forebay.errors.WireError
        If it is no log record.
    """
    one = LogData.unpack(message)
    found = logging.LogRecord(one.sender, one.severity, one.sourceFile, one.line, one.message, None, None)
    found.created = one.time * 1e-9
    found.msecs = one.time // 10**6 % 1000
    found.process = one.pid
    return found
