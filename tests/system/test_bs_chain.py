"""Source, buffer, writers and viewers as processes; driven as the original's manual says."""

import json
import os
import random
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
import zmq
from tests.system.bs_stand import SIMULATOR, BsStand, check_file, script
from tests.system.stand import Program, command, wait_until, without_privileges

from forebay.wire.bsread import HeaderCache, decode

pytestmark = pytest.mark.system

LONG = ("-b", "20000")
"""A buffer that still has the first message when the last process has started, however busy the machine."""


@pytest.fixture
def stand(tmp_path):
    with BsStand(tmp_path) as stand:
        yield stand


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_manual_of_the_original(stand, tmp_path):
    stand.simulate()
    stand.buffer("-b", "100", "--log_level", "DEBUG")
    writer = stand.writer(tmp_path / "works.h5", "--log_level=DEBUG")
    local = f"localhost:{writer.port}"
    assert json.loads(writer.curl(f"{local}/status")) == {"state": "ok", "status": "waiting"}
    assert writer.curl("-X", "PUT", f"{local}/start_now") == ""
    writer.waits_for(1)
    begun = writer.statistics()["last_pulse_id"]
    writer.waits_for(begun + 30)
    assert writer.curl("-X", "PUT", f"{local}/stop_now") == ""
    assert writer.wait().code == 0
    ids = check_file(tmp_path / "works.h5")
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert len(ids) >= 30


def test_two_writers_and_a_viewer_each_with_everything(stand, tmp_path):
    stand.simulate("-i", "0.005")
    buffer = stand.buffer(*LONG)
    view = stand.start(
        command("bs", "receive", stand.stream, "ABC", "-m", "sub", "-n", "150", "--json"), "viewer"
    )
    past, future = stand.writer(tmp_path / "past.h5"), stand.writer(tmp_path / "future.h5")
    wait_until(lambda: view.out, "the viewer's first line")
    past.ask("PUT", "/start_pulse_id/20")
    past.waits_for(100)
    now = past.statistics()["last_pulse_id"]
    future.ask("PUT", f"/start_pulse_id/{now - 50}")
    future.ask("PUT", f"/stop_pulse_id/{now + 100}")
    past.ask("PUT", f"/stop_pulse_id/{now}")
    assert past.wait().code == future.wait().code == 0
    check_file(tmp_path / "past.h5", 20, now)
    check_file(tmp_path / "future.h5", now - 50, now + 100)
    lines = [json.loads(line) for line in view.wait().out.splitlines()]
    ids = [line["pulse_id"] for line in lines]
    assert ids == list(range(ids[0], ids[0] + 150))
    assert [line["values"]["ABC"] for line in lines] == ids
    done = buffer.stop()
    assert done.code == 0
    assert "consumers_lost=0" in done.err


def test_ten_thousand_messages_of_nonsense(stand, tmp_path):
    buffer = stand.buffer(*LONG, "--analyzer")
    draw = random.Random(1)
    good = [SIMULATOR.parts(p, 10**18 + p * 10**7) for p in range(50)]
    with zmq.Context() as context, context.socket(zmq.PUSH) as source:
        source.linger = 20_000
        source.sndtimeo = 30_000
        source.bind(f"tcp://127.0.0.1:{stand.source_port}")
        for i in range(10_000):
            source.send_multipart(spoiled([bytes(part) for part in draw.choice(good)], draw))
            if i % 200 == 0:
                source.send_multipart(SIMULATOR.parts(100_000 + i // 200, 10**18))
        source.send_multipart(SIMULATOR.parts(200_000, 10**18))
        writer = stand.writer(tmp_path / "a.h5")
        writer.ask("PUT", "/start_pulse_id/100000")
        writer.ask("PUT", "/stop_pulse_id/200000")
        done = writer.wait()
    assert done.code == 0, done.err
    assert buffer.lives
    said = buffer.stop()
    assert said.code == 0
    assert "received=10051" in said.err
    counts = {word.split("=")[0]: word.split("=")[1] for word in said.err.split() if word.count("=") == 1}
    assert int(counts["malformed"]) > 3000


def spoiled(parts, draw):
    """Return a message with something wrong in it, or other bytes altogether."""
    kind = draw.randrange(8)
    i = draw.randrange(len(parts))
    if kind == 0:
        return [draw.randbytes(draw.randrange(200)) for _ in range(draw.randrange(1, 12))]
    if kind == 1:
        del parts[i:]
        return parts or [b""]
    if kind == 2:
        parts[i] = draw.randbytes(len(parts[i]))
    elif kind == 3:
        parts[i] = parts[i][: draw.randrange(len(parts[i]) + 1)]
    elif kind == 4:
        parts.insert(i, draw.randbytes(16))
    elif kind == 5:
        parts += [b""] * draw.randrange(1, 300)
    else:
        head = bytearray(parts[kind - 6])
        for _ in range(draw.randrange(1, 5)):
            head[draw.randrange(len(head))] = draw.randrange(256)
        parts[kind - 6] = bytes(head)
    return parts


def test_strangers_at_every_port(stand, tmp_path):
    stand.simulate("-i", "0.002")
    buffer = stand.buffer()
    writer = stand.writer(tmp_path / "a.h5")
    draw = random.Random(2)
    for port in (stand.output_port, writer.port):
        for size in (0, 1, 10, 64, 1000, 100_000):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
                try:
                    stranger.sendall(draw.randbytes(size))
                except ConnectionError:
                    continue
    writer.ask("PUT", "/start_pulse_id/1")
    writer.waits_for(50)
    assert writer.ask("GET", "/stop")["state"] == "ok"
    assert writer.wait().code == 0
    assert check_file(tmp_path / "a.h5")
    assert buffer.stop().code == 0


@pytest.mark.parametrize("word", ["SIGTERM", "stop", "kill"])
def test_every_end_leaves_a_whole_file(stand, tmp_path, word):
    stand.simulate("-i", "0.002")
    stand.buffer(*LONG)
    writer = stand.writer(tmp_path / "a.h5")
    writer.ask("PUT", "/start_pulse_id/1")
    writer.waits_for(150)
    if word == "SIGTERM":
        writer.program.stop()
    else:
        writer.ask("GET", f"/{word}")
    assert writer.wait().code == 0
    assert len(check_file(tmp_path / "a.h5", 1)) >= 150
    assert writer.is_gone()
    assert not list(tmp_path.glob("*.part*"))


def test_a_source_and_a_buffer_that_come_back(stand, tmp_path):
    source = stand.simulate("-n", "100")
    buffer = stand.buffer("-b", "1000", "--ring", tmp_path / "ring")
    writer = stand.writer(tmp_path / "a.h5")
    writer.ask("PUT", "/start_pulse_id/1")
    assert source.wait().code == 0
    writer.waits_for(100)
    assert buffer.stop().code == 0
    buffer = stand.buffer("-b", "1000", "--ring", tmp_path / "ring")
    stand.simulate("--first", "101", "-n", "100")
    writer.waits_for(101)  # who has been told the end waits no longer than --idle for a source that starts
    writer.ask("PUT", "/stop_pulse_id/200")
    assert writer.wait().code == 0
    check_file(tmp_path / "a.h5", 1, 200)
    stand.programs[-1].wait()
    assert buffer.stop().code == 0  # else it would take its share of what is replayed
    replayed = stand.start(
        command("bs", "replay", tmp_path / "ring", "-p", stand.source_port, "--speed", "0"), "replay"
    )
    with zmq.Context() as context, context.socket(zmq.PULL) as sink:
        sink.rcvtimeo = 30_000
        sink.connect(f"tcp://127.0.0.1:{stand.source_port}")
        cache = HeaderCache()
        assert [decode(sink.recv_multipart(), cache).pulse_id for _ in range(100)] == list(range(1, 101))
        sink.linger = 0
    replayed.kill()


@pytest.mark.parametrize(
    ("module", "words", "said"),
    [
        ("bsread_buffer", ["nonsense://x"], "not the address of a stream"),
        ("bsread_buffer", ["tcp://127.0.0.1:9", "-o", "{used}"], "in use"),
        ("bsread_buffer", ["tcp://127.0.0.1:9", "--bind", "0.0.0.0"], "open to other hosts"),
        ("bsread_writer", ["tcp://127.0.0.1:9", "{tmp}/a.h5", "-1", "{used}"], "cannot be used for REST"),
        ("bsread_writer", ["nonsense", "/proc/no/a.h5", "-1", "{free}"], "folder"),
        ("bsread_writer", ["a:b", "{tmp}/a.h5", "-1", "{free}"], "not the address of a stream"),
        ("bsread_writer", ["h:1", "../a.h5", "-1", "{free}", "--root", "{tmp}"], "without '..'"),
    ],
)
def test_what_cannot_start_says_why(tmp_path, module, words, said):
    with socket.create_server(("127.0.0.1", 0)) as used, BsStand(tmp_path) as stand:
        names = {"used": used.getsockname()[1], "free": stand.output_port, "tmp": tmp_path}
        done = stand.start(script(module, *(word.format(**names) for word in words)), "wrong").wait()
    assert done.code == 1
    assert said in done.err
    assert "Traceback" not in done.err


def test_help_is_that_of_the_original(tmp_path):
    for module, words in (
        ("bsread_buffer", ("stream", "--output_port", "--buffer_length", "--log_level", "--analyzer")),
        ("bsread_writer", ("stream_address", "output_file", "user_id", "rest_port", "--log_level")),
    ):
        done = Program(script(module, "-h"), tmp_path / module).wait()
        assert done.code == 0
        assert all(word in done.out for word in words)


USER_ID = 12_345


@pytest.fixture
def open_folder():
    """Return a folder that every user may write to; that of pytest is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="fb-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_the_user_of_a_file(stand, open_folder):
    stand.simulate("-i", "0.002")
    stand.buffer()
    writer = stand.writer(open_folder / "new" / "a.h5", user_id=USER_ID)
    status = Path(f"/proc/{writer.program.pid}/status").read_text()
    said = {line.split(":")[0]: line.split(":")[1].split() for line in status.splitlines()}
    assert (said["Uid"], said["Gid"], said["Groups"]) == (
        [str(USER_ID)] * 4,
        [str(USER_ID)] * 4,
        [str(USER_ID)],
    )
    assert said["NoNewPrivs"] == ["1"]
    assert int(said["CapEff"][0], 16) == 0
    writer.ask("PUT", "/start_pulse_id/1")
    writer.waits_for(50)
    writer.ask("GET", "/stop")
    assert writer.wait().code == 0
    path = open_folder / "new" / "a.h5"
    assert check_file(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (USER_ID, USER_ID)
    assert not path.stat().st_mode & 0o027
    assert not path.parent.stat().st_mode & 0o027


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_another_user_reads_the_ring_on_disk_if_its_group_may(stand, open_folder):
    ring = open_folder / "ring"
    stand.simulate("-i", "0.002")
    private = stand.buffer("-b", 20, "--ring", ring)
    words = script("bsread_writer", stand.stream, open_folder / "no.h5", USER_ID, 4000, "--ring", ring)
    done = stand.start(words, "writer").wait()
    assert done.code == 1
    assert f"User {USER_ID} of group {USER_ID} may not read" in done.err
    assert f"--ring_group {USER_ID}" in done.err
    assert "Traceback" not in done.err
    assert private.stop().code == 0
    stand.buffer("-b", 20, "--ring", ring, "--ring_group", USER_ID)
    writer = stand.writer(open_folder / "a.h5", "--ring", ring, user_id=USER_ID)
    writer.ask("PUT", "/start_pulse_id/1")
    writer.waits_for(100)
    assert writer.statistics()["stream"]["from_disk"] > 0
    writer.ask("GET", "/stop")
    assert writer.wait().code == 0
    assert check_file(open_folder / "a.h5")


def test_who_may_not_become_another_user_says_why(stand, tmp_path):
    words = script("bsread_writer", stand.stream, tmp_path / "a.h5", USER_ID, stand.output_port)
    done = stand.start([*without_privileges(), *words], "writer").wait()
    assert done.code == 1
    assert f"may not become user {USER_ID}" in done.err
    assert "Traceback" not in done.err
