"""The tutorial does what it says: its commands are run in order, its files saved, its output compared.

Of a promised output every line must come, in this order; ``...`` stands for anything, and blanks do not
count. A command must end with exit code 0.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.ports import free_ports

pytestmark = [pytest.mark.system, pytest.mark.calm, pytest.mark.timeout(300)]

TUTORIALS = sorted(
    path for path in (Path(__file__).parents[2] / "docs" / "tutorials").glob("*.md") if path.stem != "index"
)
BLOCK = re.compile(r"^```(\{code-block\} \w+|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CAPTION = re.compile(r":caption: (\S+)\n+")
END = "=== end of output, exit code "


@dataclass
class Step:
    """A file to save, or a command with the lines that it promises."""

    text: str
    file: str = ""
    promised: list[str] = field(default_factory=list)


def steps(page: str) -> Iterator[Step]:
    for kind, body in BLOCK.findall(page):
        if kind == "console":
            for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                command, *promised = part.splitlines()
                yield Step(command, promised=promised)
        elif caption := CAPTION.match(body):
            yield Step(body[caption.end() :], file=caption[1])


def keeps(promised: list[str], output: str) -> str:
    """Return the first promised line that did not come; empty if all did."""
    lines = iter(" ".join(line.split()) for line in output.splitlines())
    for line in promised:
        words = " ".join(line.split())
        if words == "...":
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in words.split("...")))
        if not any(pattern.fullmatch(one) for one in lines):
            return line
    return ""


def with_free_ports(page: str) -> str:
    """Return a tutorial with ports that nobody else has: others may go through it on this machine, too."""
    numbers = sorted({int(number) for number in re.findall(r"(?:_port: |--port |UDP port )(\d+)", page)})
    n_ports = numbers[-1] - numbers[0] + 2  # a second module has the next one
    first = free_ports(n_ports)
    others = {str(numbers[0] + i): str(first + i) for i in range(n_ports)}
    return re.sub(r"\b\d+\b", lambda found: others.get(found[0], found[0]), page)


class Shell:
    """One bash that takes a command at a time, as somebody at a terminal would give them."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f'{command}\necho "{END}$?"\n')
        stdin.flush()
        lines = []
        for line in stdout:
            if line.startswith(END):
                return int(line.removeprefix(END)), "".join(lines)
            lines.append(line)
        raise AssertionError(f"the shell ended in {command!r}: {''.join(lines)}")

    def close(self) -> None:
        self.run("kill $(jobs -p) 2>/dev/null; wait")
        self._process.communicate("exit\n", timeout=30)


class LossesError(AssertionError):
    """A command found losses that the file itself declares: this machine was busy for a moment."""


def go_through(path: Path, directory: Path) -> None:
    directory.mkdir()
    shell = Shell(directory, dict(os.environ))
    try:
        for step in steps(with_free_ports(path.read_text(encoding="utf-8"))):
            if step.file:
                (directory / step.file).write_text(step.text, encoding="utf-8")
                continue
            code, output = shell.run(step.text)
            words = " ".join(output.split())
            if "because it is busy" in words or (code == 1 and "whole and honest, with losses" in words):
                raise LossesError(f"$ {step.text}\n{output}")
            assert code == 0, f"$ {step.text}\n{output}"
            broken = keeps(step.promised, output)
            assert not broken, f"$ {step.text}\n{output}\ndid not say: {broken}"
    finally:
        shell.close()


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    for attempt in range(3):
        monkeypatch.setenv("FOREBAY_RUNTIME_DIR", str(tmp_path / f"run{attempt}"))
        try:
            return go_through(path, tmp_path / f"work{attempt}")
        except LossesError as error:
            lost = error
    raise lost


def test_every_tutorial_has_steps():
    assert TUTORIALS
    for path in TUTORIALS:
        assert len(list(steps(path.read_text(encoding="utf-8")))) > 5


def test_promises_are_compared():
    assert keeps(["got 5", "...", "end"], "got   5\nmore\nend\n") == ""
    assert keeps(["got 5 ... of"], "got 5 images of\n") == ""
    assert keeps(["got 5"], "got 4\n") == "got 5"
    assert keeps(["b", "a"], "a\nb\n") == "a"
