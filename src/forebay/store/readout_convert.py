"""Files of readouts of any version into those of another, readout by readout."""

from __future__ import annotations

from pathlib import Path

import msgspec

from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutManifest, ReadoutRecording
from forebay.store.readout_reader import ReadoutReader


def convert_readouts(source: Path, final: Path, recording: ReadoutRecording) -> ReadoutManifest:
    """Write the readouts of `source` into the new file `final`; what its table lacks is 0.

    Generation A has time tags of every module and no time of arrival, generation B the other way round.
    The telescope's table goes along from B to B.

    Raises
    ------
    StoreError
        If `source` cannot be read or `final` not be written; then there is no `final`.
    ConfigError
        If there is no such table or compression.
    """
    reader = ReadoutReader(source)
    try:
        names = {"CLASS", "VERSION", "TITLE", "NROWS", "ssdata_version", "ss_data_version", "ssdaq_version"}
        kept = {
            name: value if isinstance(value, str | int | float) else value.item()
            for name, value in reader.attributes.items()
            if name not in names and not name.startswith("FIELD_") and getattr(value, "ndim", 0) == 0
        }
        file = ReadoutFile(final, msgspec.structs.replace(recording, attributes=kept | recording.attributes))
        try:
            for readouts in reader:
                file.append(readouts)
            if recording.generation == "B":
                for time_s, rest_ns, seconds, dec, ra in reader.telescope().tolist():
                    file.write_telescope(ra, dec, time_s, seconds, rest_ns)
        except BaseException:
            file.discard()
            raise
        file.conclude(f"converted from {source.name}, generation {reader.generation}")
        file.close()
    finally:
        reader.close()
    assert file.manifest is not None
    return file.manifest
