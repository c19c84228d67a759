"""Names stay inside their folder; errors of the system say what to do."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import StoreError
from forebay.store import paths

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", ["a.h5", "run1/a.h5", "run1/./a.h5", "..a/b..h5", "link_in/a.h5"])
def test_names_inside(tmp_path, name):
    (tmp_path / "real").mkdir()
    (tmp_path / "link_in").symlink_to(tmp_path / "real")
    found = paths.contained(tmp_path, name)
    assert found.is_absolute()
    assert found.is_relative_to(tmp_path.resolve())


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "a/../../b", "/etc/passwd", "a\0b", "out/a.h5", "out", "loop/a", "file_out"],
)
def test_names_outside(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to("/tmp")
    (root / "loop").symlink_to(root / "loop")
    (root / "file_out").symlink_to(tmp_path / "secret")
    with pytest.raises(StoreError, match=r"relative path below"):
        paths.contained(root, name)


@given(st.text(max_size=30))
def test_no_text_leads_out(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp()
    try:
        found = paths.contained(root, name)
    except StoreError:
        return
    assert root.resolve() in found.parents


def test_names_of_one_file(tmp_path):
    final = tmp_path / "a.h5"
    part = paths.part_of(final)
    assert part.name == "a.h5.part"
    assert paths.journal_of(part).name == "a.h5.part.journal"
    assert paths.final_of(part) == final
    assert paths.final_of(paths.journal_of(part)) == final
    for other in (final, tmp_path / ".part"):
        with pytest.raises(StoreError, match=r"ends in \.part"):
            paths.final_of(other)


@pytest.mark.parametrize("left", ["a.h5", "a.h5.part", "a.h5.part.journal"])
def test_nothing_is_written_over(tmp_path, left):
    (tmp_path / left).symlink_to("nowhere")  # even a dangling link counts
    with pytest.raises(StoreError, match=r"another name|forebay recover .*a\.h5\.part$"):
        paths.check_free(tmp_path / "a.h5")


def test_a_missing_directory(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        paths.check_free(tmp_path / "no" / "a.h5")


def test_a_file_that_appears_meanwhile_stays(tmp_path):
    temporary, final = tmp_path / "a.h5.part", tmp_path / "a.h5"
    temporary.write_text("new")
    final.write_text("old")
    with pytest.raises(StoreError, match="never overwritten"):
        paths.link_in_place(temporary, final)
    assert (final.read_text(), temporary.read_text()) == ("old", "new")


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "No space"), errno.ENOSPC),
        (OSError("Can't write (file write failed: errno = 28, error message = 'No space')"), errno.ENOSPC),
        (RuntimeError("errno = what"), 0),
        (RuntimeError("broken"), 0),
    ],
)
def test_the_number_of_an_error(error, number):
    assert paths.number_of(error) == number
    assert paths.is_disk_full(error) == (number == errno.ENOSPC)


@pytest.mark.parametrize(
    ("number", "todo"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EACCES, "Ask the owner"),
        (errno.EROFS, "read-only"),
        (errno.EFBIG, "largest file size"),
    ],
)
def test_errors_say_what_to_do(number, todo):
    assert todo in str(paths.explain(OSError(number, "x"), "Cannot write a.h5"))
