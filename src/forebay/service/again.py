"""Images that left shared memory before they were compressed, taken once more from the buffer on disk."""

from __future__ import annotations

from pathlib import Path

from forebay.errors import ForebayError
from forebay.event import Event
from forebay.ring.disk import DiskReader
from forebay.ring.images import decode


class Again:
    """Find the same event in a detector's buffer on disk; any thread may call.

    Parameters
    ----------
    directory:
        Of the buffer. It is opened when it is needed, and need not be there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._disk: DiskReader | None = None

    def __call__(self, event: Event) -> Event | None:
        """Return the event as it is on disk; None if it is not there, or is of another beat."""
        try:
            if self._disk is None:
                self._disk = DiskReader(self._directory, decode)
            found = self._disk.get(event.pulse_id)
        except ForebayError:  # whoever asks counts the image as overwritten
            return None
        return found if found.time_ns == event.time_ns else None
