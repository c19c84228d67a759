"""The writer driven by its REST interface, with a stream in the same process."""

import json
import threading

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import pytest
from fastapi.testclient import TestClient

from forebay.front.bsread.arguments import WriterArguments
from forebay.front.bsread.rest import MANDATORY, MAX_BODY_BYTES, writer_app
from forebay.ring.memory import MemoryRing
from forebay.service.bsread_writer import Writer
from forebay.sim.bsread import BsreadOptions, BsreadSimulator
from forebay.store.channel_manifest import from_json
from forebay.store.check import check_file
from forebay.wire.bsread import HeaderCache, decode

pytestmark = pytest.mark.flow

SIMULATOR = BsreadSimulator(BsreadOptions(scalars=2))


class Stand:
    """A ring that the writer reads, the writer and its interface."""

    def __init__(self, directory, **options):
        self.directory = directory
        self.ring = MemoryRing(10_000, 2**30)
        self.cache = HeaderCache()
        file = options.pop("output_file", str(directory / "new" / "works.h5"))
        arguments = WriterArguments("tcp://h:1", file, None, 4000, idle_s=2.0, **options)
        self.writer = Writer(arguments, lambda _first: self.ring.reader())
        self.client = TestClient(
            writer_app(self.writer), base_url="http://localhost:8888", raise_server_exceptions=False
        )
        self.file = directory / "new" / "works.h5"

    def come(self, first, last, time_ns=None):
        for p in range(first, last + 1):
            when = time_ns if time_ns is not None else 10**18 + p * 10**7
            self.ring.write([decode(SIMULATOR.parts(p, when), self.cache)])

    def put(self, path, **options):
        answer = self.client.put(path, **options)
        assert (answer.status_code, answer.content) == (200, b""), answer.text
        assert answer.headers["content-type"].startswith("text/html")

    def until_ended(self):
        assert self.writer.ended.wait(20)

    def until_seen(self, pulse_id):
        self.until(lambda statistics: statistics["last_pulse_id"] == pulse_id)

    def until(self, condition):
        for _ in range(4000):
            if condition(self.client.get("/statistics").json()["statistics"]):
                return
            threading.Event().wait(0.005)
        raise AssertionError("not seen")


@pytest.fixture
def stand(tmp_path):
    stand = Stand(tmp_path)
    yield stand
    stand.writer.kill()


def pulses_of(path):
    with h5py.File(path) as file:
        ids = file["data/ABCD/pulse_id"][:].tolist()
        assert file["data/ABCD/data"][:].ravel().tolist() == [10.0 * p for p in ids]
        assert file["data/XYZW/data"].asstr()[:].ravel().tolist() == [f"hello {p}" for p in ids]
        return ids


def manifest_of(path):
    with h5py.File(path) as file:
        return from_json(file["general/manifest"][()])


def test_a_range_partly_past(stand):
    stand.come(100, 150)
    assert stand.client.get("/status").json() == {"state": "ok", "status": "waiting"}
    stand.put("/start_pulse_id/120")
    assert stand.client.get("/status").json()["status"] == "writing"
    stand.put("/stop_pulse_id/160")
    stand.come(151, 160)  # the stream ends exactly there
    stand.until_ended()
    assert pulses_of(stand.file) == list(range(120, 161))
    statistics = stand.client.get("/statistics").json()["statistics"]
    assert (statistics["start_pulse_id"], statistics["stop_pulse_id"]) == (120, 160)
    assert (statistics["last_pulse_id"], statistics["last_timestamp"]) == (160, (10**18 + 160 * 10**7) / 1e9)


def test_a_stop_before_the_start_and_one_that_trims(stand):
    stand.put("/stop_pulse_id/30")
    stand.put("/stop_pulse_id/20")
    stand.come(0, 50)
    stand.put("/start_pulse_id/10")
    stand.until_ended()
    assert pulses_of(stand.file) == list(range(10, 21))


def test_trimming_of_what_had_come(stand):
    stand.put("/start_pulse_id/0")
    stand.come(0, 69)
    stand.until_seen(69)
    stand.put("/stop_pulse_id/60")
    stand.until_ended()
    assert pulses_of(stand.file) == list(range(61))


def test_a_stop_long_after_its_pulse_trims_what_was_written(stand):
    stand.put("/start_pulse_id/10")
    stand.come(10, 1999)
    stand.until(lambda statistics: statistics["counters"]["received"] > 1500)
    stand.put("/stop_pulse_id/160")
    stand.until_ended()
    assert pulses_of(stand.file) == list(range(10, 161))
    report = check_file(stand.file)
    assert report.is_good, report.problems
    assert not report.problems
    manifest = manifest_of(stand.file)
    assert manifest.requested.pulses == "10..160"
    assert manifest.counters.end.recorder["cut"] > 1000


def test_the_manifest_names_the_range_that_became_known_after_the_start(stand):
    stand.put("/start_pulse_id/5")
    stand.come(8, 20)
    stand.until_seen(20)
    stand.put("/stop_pulse_id/30")
    stand.come(21, 29)
    stand.come(31, 31)
    stand.until_ended()
    manifest = manifest_of(stand.file)
    assert manifest.requested.pulses == "5..30"
    assert manifest.sources["tcp://h:1"].missing.ranges == ["5..7", "30..30"]


@pytest.mark.parametrize("body", [{}, {"content": b""}, {"json": {}}])
def test_start_now_with_and_without_a_body(stand, body):
    stand.come(1, 5)  # of the year 2001
    stand.put("/start_now", **body)
    stand.come(6, 9, time_ns=2 * 10**18)  # of the year 2033
    stand.until_seen(9)
    assert stand.client.get("/stop").json() == {"state": "ok", "status": "waiting"}
    assert pulses_of(stand.file) == [6, 7, 8, 9]


def test_stop_now_leaves_out_what_is_later(stand):
    stand.put("/start_pulse_id/1")
    stand.come(1, 5)
    stand.until_seen(5)
    stand.put("/stop_now")
    stand.come(6, 9, time_ns=2 * 10**18)
    stand.until_ended()
    assert pulses_of(stand.file) == [1, 2, 3, 4, 5]


def test_files_of_their_own_one_after_another(stand):
    for i, first in enumerate((0, 100)):
        path = stand.directory / f"run{i}.h5"
        stand.put("/start_now", json={"output_file": str(path)})
        stand.come(first, first + 9, time_ns=2 * 10**18)
        stand.until_seen(first + 9)
        stand.put(f"/stop_pulse_id/{first + 4}")
        stand.writer._thread.join(20)
        assert stand.client.get("/status").json() == {"state": "ok", "status": "waiting"}
        assert not stand.writer.ended.is_set()
        wanted = list(range(first, first + 5))
        assert pulses_of(path)[-5:] == wanted
        stand.ring = MemoryRing(100, 2**30)


@pytest.mark.parametrize("word", ["stop", "kill"])
def test_stop_and_kill_close_the_file(stand, word):
    stand.put("/start_pulse_id/1")
    stand.come(1, 40)
    stand.until_seen(40)
    answer = stand.client.get(f"/{word}")
    assert answer.status_code == 200
    assert stand.writer.ended.is_set()
    assert pulses_of(stand.file) == list(range(1, 41))
    assert not list(stand.file.parent.glob("*.part*"))


def test_a_silent_stream_ends_at_the_deadline_with_what_there_is(stand):
    stand.put("/start_pulse_id/1")
    stand.come(1, 3)
    stand.put("/stop_pulse_id/100")
    stand.until_ended()
    assert pulses_of(stand.file) == [1, 2, 3]


def test_missing_pulses_are_said_where_the_file_is_closed(stand, caplog):
    stand.come(3, 5)
    stand.come(8, 9)
    stand.put("/stop_pulse_id/9")
    stand.put("/start_pulse_id/0")
    stand.until_ended()
    (closed,) = [one for one in caplog.records if one.message == "file closed"]
    assert closed.levelname == "WARNING"
    assert (closed.fields["missing"], closed.fields["missing_pulses"]) == (5, "0..2, 6..7")


def test_a_file_without_any_message_is_a_warning(stand, caplog):
    stand.come(3, 5)
    stand.put("/stop_pulse_id/2")
    stand.put("/start_now")
    stand.until_ended()
    (closed,) = [one for one in caplog.records if one.message == "file closed"]
    assert (closed.levelname, closed.fields["written"]) == ("WARNING", 0)


def test_parameters_are_echoed_and_written(stand):
    given = {key: f"Zürich {key[8:]}" for key in MANDATORY} | {"general/more": 1}
    answer = stand.client.post("/parameters", json=given)
    assert answer.json() == {"state": "ok", "status": "waiting", "parameters": given}
    stand.put("/start_pulse_id/1")
    stand.come(1, 1)
    stand.put("/stop_pulse_id/1")
    stand.until_ended()
    with h5py.File(stand.file) as file:
        for key in MANDATORY:
            text = file[key][()]
            assert "rich" in (text.decode() if isinstance(text, bytes) else str(text))


def test_parameters_that_are_missing_are_named(stand):
    answer = stand.client.post("/parameters", json={"general/user": "me", "x": 1})
    assert answer.status_code == 400
    assert answer.json()["state"] == "error"
    assert all(key in answer.json()["status"] for key in (*MANDATORY, "x"))


def test_existing_files_are_never_overwritten(stand):
    stand.file.parent.mkdir()
    stand.file.write_bytes(b"precious")
    answer = stand.client.put("/start_pulse_id/1")
    assert answer.status_code == 409
    assert "never overwritten" in answer.json()["status"]
    assert stand.file.read_bytes() == b"precious"
    assert stand.client.get("/status").json()["status"] == "waiting"


def test_a_second_start_is_refused_and_the_first_goes_on(stand):
    stand.put("/start_pulse_id/1")
    for path in ("/start_pulse_id/1", "/start_now"):
        answer = stand.client.put(path)
        assert (answer.status_code, answer.json()["state"]) == (409, "error")
    stand.come(1, 5)
    stand.put("/stop_pulse_id/5")
    stand.until_ended()
    assert pulses_of(stand.file) == [1, 2, 3, 4, 5]


def test_reversed_ranges_are_refused(stand):
    stand.put("/stop_pulse_id/5")
    assert stand.client.put("/start_pulse_id/6").json()["state"] == "error"
    stand.put("/start_pulse_id/3")
    assert "reversed" in stand.client.put("/stop_pulse_id/2").json()["status"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/start_pulse_id/abc", None, 400),
        ("PUT", "/start_pulse_id/-5", None, 400),
        ("PUT", "/start_pulse_id/1.5", None, 400),
        ("PUT", f"/stop_pulse_id/{2**63}", None, 400),
        ("PUT", "/stop_pulse_id/" + "9" * 5000, None, 400),
        ("PUT", "/stop_pulse_id/٣", None, 400),
        ("PUT", "/start_now", b"not json", 400),
        ("PUT", "/start_now", b"[]", 400),
        ("PUT", "/start_now", b"[" * 60_000, 400),
        ("PUT", "/start_now", b'{"output_file": 5}', 400),
        ("PUT", "/start_now", b"x" * (MAX_BODY_BYTES + 1), 413),
        ("POST", "/parameters", b"\xff\xfe", 400),
        ("PUT", "/stop_now", None, 409),
        ("GET", "/nothing", None, 404),
        ("GET", "/start_now", None, 405),
        ("DELETE", "/status", None, 405),
    ],
)
def test_what_cannot_be_done_is_said_in_the_form_of_the_original(stand, method, path, body, status):
    answer = stand.client.request(method, path, content=body)
    assert answer.status_code == status
    assert answer.json().keys() == {"state", "status"}
    assert answer.json()["state"] == "error"
    assert answer.json()["status"]
    assert stand.client.get("/status").json() == {"state": "ok", "status": "waiting"}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "http://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"host": ""},
    ],
)
def test_pages_of_a_browser_may_not_command(stand, headers):
    assert stand.client.get("/kill", headers=headers).status_code == 403
    assert not stand.writer.ended.is_set()


@pytest.mark.parametrize("name", ["../out.h5", "/etc/out.h5", "link/out.h5", "a/../../out.h5"])
def test_nobody_writes_outside_the_root(tmp_path, name):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    stand = Stand(tmp_path, root=tmp_path / "root", output_file="in.h5")
    answer = stand.client.put("/start_now", content=json.dumps({"output_file": name}))
    assert (answer.status_code, answer.json()["state"]) == (409, "error")
    assert stand.client.get("/status").json()["status"] == "waiting"
    stand.put("/start_pulse_id/1")
    stand.come(1, 2)
    stand.until_seen(2)
    stand.client.get("/stop")
    assert pulses_of(tmp_path / "root" / "in.h5") == [1, 2]


def test_nowhere_counts_and_writes_nothing(tmp_path):
    stand = Stand(tmp_path, output_file="/dev/null")
    stand.put("/start_pulse_id/1")
    stand.come(1, 200)
    stand.put("/stop_pulse_id/200")
    stand.until_ended()
    assert stand.client.get("/statistics").json()["statistics"]["counters"]["received"] == 200
    assert not list(tmp_path.iterdir())


def test_the_interface_describes_itself(stand):
    paths = stand.client.get("/openapi.json").json()["paths"]
    assert {"/status", "/start_now", "/stop_pulse_id/{pulse_id}"} <= paths.keys()
