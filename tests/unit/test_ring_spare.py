"""Memory of large blocks is used again, and never while somebody looks at it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from forebay.ring import spare

pytestmark = pytest.mark.unit

SIZE = 2**20


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spare, "_spare", type(spare._spare)(list))
    path = tmp_path / "a"
    path.write_bytes(b"".join(bytes([i]) * SIZE for i in range(8)))
    file = os.open(path, os.O_RDONLY)
    yield file
    os.close(file)


def address(block: bytes | memoryview) -> int:
    return np.frombuffer(block, np.uint8).ctypes.data


def test_used_again_once_nobody_looks_at_it(file: int) -> None:
    block = spare.read(file, SIZE, 0)
    first = address(block)
    part = np.frombuffer(block[10:20], np.uint8)[3:5]
    del block
    other = spare.read(file, SIZE, SIZE)
    assert address(other) != first
    assert part.tolist() == [0, 0]
    del part
    assert address(spare.read(file, SIZE - 1, 2 * SIZE)) == first
    assert set(other) == {1}


def test_what_is_read_is_what_the_file_holds_and_read_only(file: int) -> None:
    for n_bytes in (10, SIZE - 1, SIZE, SIZE + 1):
        block = memoryview(spare.read(file, n_bytes, SIZE))
        assert block.readonly
        assert bytes(block) == (b"\1" * SIZE + b"\2")[:n_bytes]
    assert bytes(spare.read(file, SIZE, 8 * SIZE - 5)) == b"\7" * 5
    assert not len(spare.read(file, SIZE, 8 * SIZE))


def test_only_so_much_is_kept(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare, "KEPT_BYTES", 3 * SIZE)
    blocks = [spare.read(file, SIZE, i * SIZE) for i in range(8)]
    assert [block[0] for block in blocks] == list(range(8))
    del blocks
    assert len(spare._spare[SIZE]) == 3
