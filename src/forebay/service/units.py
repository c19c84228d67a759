"""Units of systemd and compose files that run what a configuration asks for."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from forebay.config import Config
from forebay.service.roles import ROLES, services_of
from forebay.service.supervisor import STOP_TIMEOUT_S


def systemd_unit(config: Config, config_path: Path) -> str:
    """Return the unit of a supervisor that runs everything of this host."""
    return _unit(
        f"forebay: {config_path}", ["run", str(config_path)], config, [], kill="mixed", stop_s=_stop_s(config)
    )


def systemd_units(config: Config, config_path: Path) -> dict[str, str]:
    """Return a unit for each service, by its file name, and a target that holds them together."""
    units = {}
    services = services_of(config)
    for role, name in services:
        before = [
            _unit_name(*one)
            for one in services
            if ROLES[one[0]].starts == ROLES[role].starts - 1 or one[0] == "hub"
        ]
        after = [one for one in before if one != _unit_name(role, name)]
        words = ["serve", role, name, "--config", str(config_path)]
        units[_unit_name(role, name)] = _unit(
            f"forebay: {role} {name}", words, config, after, kill="control-group", stop_s=int(STOP_TIMEOUT_S)
        )
    target = ["[Unit]", f"Description=forebay: {config_path}", f"Wants={' '.join(units)}"]
    return {
        **units,
        "forebay.target": "\n".join([*target, "", "[Install]", "WantedBy=multi-user.target", ""]),
    }


def _unit_name(role: str, name: str) -> str:
    return f"forebay-{role}-{name}.service"


def _unit(what: str, words: list[str], config: Config, after: list[str], *, kill: str, stop_s: int) -> str:
    """Return a unit that counts as started when the service says that it is ready."""
    command = " ".join(_quoted(word).replace("$", "$$") for word in [sys.executable, "-m", "forebay", *words])
    lines = [
        "[Unit]",
        f"Description={what.replace('%', '%%')}",
        "Wants=network-online.target",
        f"After={' '.join(['network-online.target', *after])}",
        "",
        "[Service]",
        "Type=notify",
        f"ExecStart={command}",
        f"User={getpass.getuser()}",
        f"Environment={_quoted(f'FOREBAY_RUNTIME_DIR={config.runtime_dir}')}",
        f"Environment={_quoted(f'FOREBAY_STATE_DIR={config.state_dir}')}",
        f"WorkingDirectory={str(Path.cwd()).replace('%', '%%')}",
        "Restart=on-failure",
        "RestartSec=2",
        f"KillMode={kill}",
        f"TimeoutStopSec={stop_s}",
        "LimitMEMLOCK=infinity",
        "LimitNOFILE=65536",
        "NoNewPrivileges=yes",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return "\n".join(lines)


def _quoted(word: str) -> str:
    """Return a word as systemd reads it."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{word}"' if any(c.isspace() for c in word) or not word else word


def compose_file(config: Config, config_path: Path, image: str) -> str:
    """Return a compose file with one container that runs everything of this host.

    It has the network and the shared memory of the host: packets and rings need both.
    """
    state, data = config.state_dir.absolute(), config.record.directory.absolute()
    paths = [
        data,
        state,
        config.runtime_dir.absolute(),
        *(one.directory.absolute() for one in config.epics.values()),
        *(one.disk.directory.absolute() for one in config.bsread.values() if one.disk is not None),
    ]
    service: dict[str, Any] = {
        "image": image,
        "command": ["forebay", "run", str(config_path)],
        "network_mode": "host",
        "ipc": "host",
        "user": f"{os.getuid()}:{os.getgid()}",
        "environment": {
            "FOREBAY_RUNTIME_DIR": str(config.runtime_dir.absolute()),
            "FOREBAY_STATE_DIR": str(state),
        },
        "volumes": [f"{config_path}:{config_path}:ro", *(f"{one}:{one}" for one in dict.fromkeys(paths))],
        "restart": "on-failure",
        "stop_grace_period": f"{_stop_s(config)}s",
        "ulimits": {"memlock": -1, "nofile": 65536},
    }
    return yaml.safe_dump({"services": {"forebay": service}}, sort_keys=False)


def _stop_s(config: Config) -> int:
    """Return how long an ordered stop may take: each group of services has its own time."""
    return int(STOP_TIMEOUT_S * len({ROLES[role].stops for role, _ in services_of(config)}) + 5)
