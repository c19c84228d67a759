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
    assert command[-3:] == ["ss-sim", "2009", "172.17.0.1"]


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


def test_scripts_of_the_readme_say_how_they_are_used():
    for script in ("SSUDPTMSimulator.py", "docker-command.py"):
        done = subprocess.run(
            [sys.executable, str(FOLDER / script), "-h"], capture_output=True, text=True, check=True
        )
        assert script in done.stdout
