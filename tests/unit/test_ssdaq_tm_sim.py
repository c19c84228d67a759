"""Simulated modules in containers: addresses, commands, compose file."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from forebay.cli.tm_sim import compose, docker_command, run_command

pytestmark = pytest.mark.unit

FOLDER = Path(__file__).parents[2] / "tm-ss-sim"


def test_the_compose_file_is_that_of_a_whole_camera():
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == compose(32, "172.18.0.", "172.17.0.1", 2009)


def test_a_modules_address_says_which_it_is():
    command = run_command(7, "my-net", "172.18.0.", "172.17.0.1", 2009)
    assert command[command.index("--ip") + 1] == "172.18.0.107"
    assert command[-9:] == ["ss-sim", "2009", "172.17.0.1", "-m", "172.18.0.107", "-t", "7", "-c", "30001"]


@pytest.mark.parametrize("words", ["-p -N 33", "-p -i 300.0.0."])
def test_what_cannot_be_is_refused(words, capsys):
    with pytest.raises(SystemExit) as end:
        docker_command(words.split())
    assert end.value.code == 1
    assert capsys.readouterr().err


def test_modules_are_printed(capsys):
    with pytest.raises(SystemExit) as end:
        docker_command(["-p", "-N", "3"])
    assert end.value.code == 0
    assert capsys.readouterr().out.count("docker run") == 3


DOCKER = """#!{python}
import sys
from pathlib import Path
with Path({log!r}).open("a") as log:
    print(*sys.argv[1:], file=log)
sys.exit({missing!r} in " ".join(sys.argv))
"""


class FakeDocker:
    """A docker that writes down what it is asked, and refuses what holds `missing`."""

    def __init__(self, folder, monkeypatch):
        self._folder = folder
        self._log = folder / "asked.txt"
        self.started = folder / ".started_tms.txt"
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(sys, "argv", [str(folder / "docker-command.py")])
        self.refuses("nothing")

    def refuses(self, missing):
        script = self._folder / "docker"
        script.write_text(DOCKER.format(python=sys.executable, log=str(self._log), missing=missing))
        script.chmod(0o755)

    def __call__(self, *words):
        self._log.unlink(missing_ok=True)
        with pytest.raises(SystemExit) as end:
            docker_command(words)
        asked = self._log.read_text().splitlines() if self._log.exists() else []
        return end.value.code, asked


@pytest.fixture
def docker(tmp_path, monkeypatch):
    return FakeDocker(tmp_path, monkeypatch)


def test_modules_are_built_started_listed_and_stopped(docker):
    assert docker("-b") == (
        0,
        [f"build -t ss-sim -f {docker.started.parent / 'Dockerfile'} {docker.started.parent.parent}"],
    )
    code, asked = docker("-r", "-N", "2", "-n", "net", "-i", "10.1.2.")
    assert code == 0
    assert asked[0] == "network inspect net"
    assert [one.split()[:2] for one in asked[1:]] == [["run", "--detach"]] * 2
    assert docker.started.read_text() == "TM0 10.1.2.100:30001\nTM1 10.1.2.101:30001\n"
    assert docker("-r", "-N", "2")[0] == 1  # they run already
    assert docker("-s") == (0, ["rm --force TM0 TM1"])
    assert not docker.started.exists()
    assert docker("-s") == (0, [])


def test_a_network_that_is_missing_is_made(docker):
    docker.refuses("inspect")
    assert docker("-r", "-N", "1")[1][1] == "network create --driver=bridge --subnet=172.18.0.0/24 my-net"


def test_modules_that_run_are_listed_also_if_the_next_one_fails(docker, capsys):
    docker.refuses("TM2")
    assert docker("-r")[0] == 1
    assert len(docker.started.read_text().splitlines()) == 2
    assert "failed with code 1" in capsys.readouterr().err


def test_printing_carries_nothing_out(docker, capsys):
    assert docker("-p", "-r", "-N", "2") == (0, [])
    assert capsys.readouterr().out.count("docker run") == 2


def test_without_docker_it_is_said(docker, capsys):
    (docker.started.parent / "docker").unlink()
    assert docker("-r")[0] == 1
    assert "no docker" in capsys.readouterr().err


def test_scripts_of_the_readme_say_how_they_are_used():
    for script in ("SSUDPTMSimulator.py", "docker-command.py", "sim_control.py"):
        done = subprocess.run(
            [sys.executable, str(FOLDER / script), "-h"], capture_output=True, text=True, check=True
        )
        assert script in done.stdout
