"""The next file of a series takes a name that is free, also where others write into the same folder."""

import pytest

from forebay.errors import ConfigError, ForebayError, StoreError
from forebay.service.sof_writer import LogWriter
from forebay.store.paths import part_of
from forebay.store.readout_series import begun_at_free
from forebay.store.sof_file import SofFile
from forebay.wire.sof import Kind

pytestmark = pytest.mark.flow

NAMES = [f"log{i}.sof" for i in range(1, 6)]


def begin(path):
    return SofFile(path, Kind.LOG)


def test_names_that_are_taken_are_passed_over(tmp_path):
    (tmp_path / "log1.sof").touch()
    part_of(tmp_path / "log2.sof").touch()
    file = begun_at_free(tmp_path, NAMES, begin)
    file.close()
    assert file.path == tmp_path / "log3.sof"


def test_a_name_that_another_writer_takes_meanwhile_is_left_to_it(tmp_path):
    others = []

    def begin_late(path):
        if not others:
            others.append(begin(path))
        return begin(path)

    file = begun_at_free(tmp_path, NAMES, begin_late)
    for one in (*others, file):
        one.close()
    assert [others[0].path.name, file.path.name] == NAMES[:2]


def test_what_is_wrong_with_the_folder_is_said(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        begun_at_free(tmp_path / "missing", NAMES, begin)


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ({"folder": "missing"}, StoreError),
        ({"file_enumerator": "dat"}, ConfigError),
        ({"filesize_lim": -1}, ConfigError),
        ({"file_prefix": "a/b"}, ConfigError),
    ],
)
def test_a_writer_says_at_once_that_it_cannot_write(tmp_path, monkeypatch, where, error):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ForebayError) as refused:
        LogWriter(**{"file_prefix": "log", "ip": "127.0.0.1", "port": 9001, **where})
    assert type(refused.value) is error
