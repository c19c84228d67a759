"""Chunks that enter an HDF5 file as they are: where each one lies, and reading it back from a wreck."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from forebay.store.room import WriteBack
from forebay.wire.compress import MAX_BYTES


class Chunks:
    """Writes chunks into the datasets of one open file, and says where in the file each one lies.

    HDF5's and the system's errors (OSError, RuntimeError) pass through. Space is the caller's affair.
    """

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._fd: int = file.id.get_vfd_handle()
        self._write_back = WriteBack(self._fd)
        self._end = 0  # where the last chunk ends

    def write(self, data: h5py.Dataset, row: int, chunk: NDArray[np.uint8]) -> int:
        """Write the chunk of one row of images, (row, ...), and return its offset in the file; bytes."""
        file_end = self._file.id.get_filesize()
        at = (row, *(0,) * (data.ndim - 1))
        data.id.write_direct_chunk(at, chunk)
        offset = self._find(chunk, file_end)
        if offset < 0:
            offset = int(data.id.get_chunk_info_by_coord(at).byte_offset)
        self._end = offset + chunk.nbytes
        self._write_back.advance(self._end)
        return offset

    def check(self) -> None:
        """Raise if the disk did not take a chunk that was written; see `WriteBack.check`."""
        self._write_back.check()

    def _find(self, chunk: NDArray[np.uint8], file_end: int) -> int:
        """Return where a chunk was just written: where the file ended, or next to the chunk before; or -1.

        HDF5 is asked only when it lies elsewhere, since its answer takes time in proportion to the
        number of images.
        """
        first, last = chunk[:64].tobytes(), chunk[-64:].tobytes()
        for offset in (file_end, self._end, os.fstat(self._fd).st_size - chunk.nbytes):
            if (
                offset >= self._end
                and os.pread(self._fd, len(first), offset) == first
                and os.pread(self._fd, len(last), offset + chunk.nbytes - len(last)) == last
            ):
                return offset
        return -1


class Wreck:
    """The part that a killed recorder left: HDF5 cannot read it, but its chunks lie where its journal says.

    A part that does not exist holds no chunk.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path.exists() else -1
        self._bytes = os.fstat(self._fd).st_size if self._fd >= 0 else 0

    def chunk(self, offset: int, size: int, checksum: int) -> NDArray[np.uint8] | None:
        """Return the chunk at `offset` if its bytes have this xxh3_64, else None."""
        if size > MAX_BYTES or offset + size > self._bytes:
            return None
        chunk = np.empty(size, np.uint8)
        if os.preadv(self._fd, [chunk.data], offset) != size:
            return None
        return chunk if xxhash.xxh3_64_intdigest(chunk.data) == checksum else None

    def close(self) -> None:
        """Let go of the part; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
