"""The dashboard in a real browser: services, jobs and the live image of an installation that runs."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess

import pytest
from tests.ports import free_ports
from tests.system.stand import Stand, wait_until

from forebay.api.client import Client

pytestmark = [pytest.mark.system, pytest.mark.calm, pytest.mark.timeout(180)]

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""No sandbox: the tests may run as root, and the page is ours."""


@pytest.fixture(scope="module")
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("chromium is not installed")
    return found


def free_port() -> int:
    return free_ports(1, socket.SOCK_STREAM)


def page(browser: str, url: str, profile) -> str:
    """Return the page as it stands after some seconds of the browser's own time."""
    words = [browser, *QUIET, f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--dump-dom", url]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_dashboard_shows_what_runs(browser, tmp_path):
    live = {"live": {"endpoint": f"tcp://127.0.0.1:{free_port()}"}}
    with Stand(tmp_path, detector=live, workers={"record": 1, "retrieve": 0}) as stand:
        port = free_port()
        stand.configure({**stand.settings, "api": {"port": port}})
        stand.run()
        stand.simulate("--rate", 50)
        url = f"http://127.0.0.1:{port}"
        with Client(url) as client:
            (job,) = client.record([stand.name], images=20, file="seen.h5")
            wait_until(lambda: client.job(job.id).state == "finished", stand.logs)

        def shown() -> str:
            """Return the page once it has an image: the browser's own time passes fast."""
            found = page(browser, f"{url}/", tmp_path / "profile")
            size = re.search(r'<canvas id="image" width="(\d+)"', found)
            return found if size and int(size[1]) > 1 else ""

        html = wait_until(shown, lambda: f"no live image\n{stand.logs()}")
    assert "20 of 20" in html
    assert "finished" in html
    assert re.search(rf"service\.[^<]*receive\.{re.escape(stand.name)}", html)
    assert re.search(r'<p id="problem" role="alert" hidden', html)
