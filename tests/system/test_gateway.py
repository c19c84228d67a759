"""The real gateway over real services: scopes, watching a job while it runs, refusals at the start."""

from __future__ import annotations

import os
import signal
import socket
import urllib.request
from collections.abc import Iterator

import pytest
from tests.ports import free_ports
from tests.system.stand import Stand, wait_until

from forebay.api.client import Client
from forebay.api.tokens import TokenFile
from forebay.errors import AccessError, ConfigError, NoWorkerError, StoreError, TokenError
from forebay.ring.slots import BUILD_COUNTERS, RECEIVE_COUNTERS
from forebay.store.check import check_file

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


def free_port() -> int:
    return free_ports(1, socket.SOCK_STREAM)


def with_api(stand: Stand, **api: object) -> str:
    """Give a stand a REST interface; return its URL."""
    port = free_port()
    stand.configure({**stand.settings, "api": {"port": port, **api}})
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return {}


@pytest.fixture(scope="module")
def running(tmp_path_factory, tokens) -> Iterator[tuple[Stand, str]]:
    """Lend a stand with a detector that sends, workers, a gateway with tokens, and its URL."""
    directory = tmp_path_factory.mktemp("gateway")
    live = {"live": {"endpoint": f"tcp://127.0.0.1:{free_port()}"}}
    with Stand(directory, slots=256, detector=live, workers={"record": 1, "retrieve": 1}) as stand:
        url = with_api(stand)
        file = TokenFile(stand.config.state_dir)
        tokens |= {scope: file.add(scope, scope) for scope in ("read", "operate", "admin")}
        tokens["other"] = file.add("other", "operate", ["elsewhere"])
        stand.run()
        stand.simulate("--rate", 100)
        ring = stand.ring()
        wait_until(lambda: ring.n_events > 2, lambda: f"events\n{stand.logs()}")
        ring.close()
        yield stand, url


def test_a_job_is_watched_while_it_runs(running, tokens):
    stand, url = running
    with Client(url, token=tokens["operate"]) as client:
        (job,) = client.record([stand.name], images=400, file="watched.h5")
        seen = list(client.watch(job.id))
        states = [update.body["state"] for update in seen]
        progress = [update.body.get("n_done") or 0 for update in seen]
        assert states[-1] == "finished", (seen, stand.logs())
        assert progress == sorted(progress)
        assert any(0 < n_done < 400 for n_done in progress), "no progress was told"
        ended = client.job(job.id)
        assert (ended.n_done, ended.owner) == (400, "operate")
        (file,) = client.files(job_id=job.id)
        assert (file.n_got, file.source) == (400, stand.name)
        assert check_file(stand.data / "watched.h5").is_good
        assert stand.data.joinpath("watched.h5").samefile(file.path)


def test_a_recording_is_cancelled(running, tokens):
    stand, url = running
    with Client(url, token=tokens["operate"]) as client:
        (job,) = client.record([stand.name], seconds=600, file="cancelled.h5")
        wait_until(lambda: client.job(job.id).state == "running", lambda: stand.logs())
        client.cancel(job.id)
        assert client.wait(job.id, 20).state == "cancelled"
        assert check_file(stand.data / "cancelled.h5").is_good


def test_what_is_not_possible_is_said_before_anything_is_done(running, tokens):
    stand, url = running
    with Client(url, token=tokens["operate"]) as client:
        n_jobs = len(client.jobs())
        with pytest.raises(NoWorkerError, match="nobody"):
            client.record(["nobody"], images=1)
        with pytest.raises((ConfigError, StoreError), match="relative path"):
            client.record([stand.name], images=1, file="../outside.h5")
        (stand.data / "link").symlink_to(stand.directory)
        with pytest.raises((ConfigError, StoreError), match="outside"):
            client.record([stand.name], images=1, file="link/outside.h5")
        (stand.data / "taken.h5").touch()
        with pytest.raises(StoreError, match="never overwritten"):
            client.record([stand.name], images=1, file="taken.h5")
        with pytest.raises(ConfigError, match=r"quotas\.pulses"):
            client.record([stand.name], images=10**9)
        assert len(client.jobs()) == n_jobs


def test_scopes(running, tokens):
    stand, url = running
    with Client(url, token="") as nobody, pytest.raises(TokenError):
        nobody.status()
    with Client(url, token=tokens["read"]) as reader:
        assert reader.status()
        with pytest.raises(AccessError, match="needs the scope operate"):
            reader.record([stand.name], images=1)
        with pytest.raises(AccessError, match="needs the scope admin"):
            reader._ask("GET", "/configuration", dict)
    with (
        Client(url, token=tokens["operate"]) as operator,
        pytest.raises(AccessError, match="needs the scope admin"),
    ):
        operator._ask("GET", "/configuration", dict)
    with Client(url, token=tokens["admin"]) as admin:
        assert stand.name in admin._ask("GET", "/configuration", dict)["detectors"]
    with Client(url, token=tokens["other"]) as other:
        with pytest.raises(AccessError, match="is for elsewhere, not for default"):
            other.record([stand.name], images=1, proposal="default")
        assert other.jobs() == []


def test_metrics_add_up(running, tokens):
    stand, url = running
    request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {tokens['read']}"})
    with urllib.request.urlopen(request) as response:
        text = response.read().decode()
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    port = f'{{detector="{stand.name}",port="{stand.port}"}}'
    counts = {name: float(found[f"forebay_receive_{name}_total{port}"]) for name in RECEIVE_COUNTERS}
    assert counts["received"] > 0
    assert counts["placed"] > 0
    for name in BUILD_COUNTERS:
        assert f'forebay_build_{name}_total{{detector="{stand.name}"}}' in found
    assert found[f'forebay_ring_present{{detector="{stand.name}"}}'] == "1.0"
    assert found["forebay_control_up"] == "1.0"
    assert "forebay_jobs" in text
    assert any(line.startswith('forebay_service_state{service="') for line in found)


def test_services_say_what_they_counted(running, tokens):
    stand, url = running

    def counters():
        with Client(url, token=tokens["read"]) as client:
            services = {service.key: service.detail for service in client.status().services}
        return {
            role: detail.get("counters", {})
            for key, detail in services.items()
            for role in ("receive", "assemble", "live")
            if f".{role}.{stand.name}" in key
        }

    wait_until(lambda: counters().get("live", {}).get("offered", 0) > 0, lambda: f"counters in {counters()}")
    wait_until(lambda: counters()["assemble"].get("frames", 0) > 0, lambda: f"counters in {counters()}")
    assert counters()["receive"]["frames"] > 0


def test_services_are_listed(running, tokens):
    _stand, url = running
    with Client(url, token=tokens["read"]) as client:

        def keys():
            return {service.key.split(".")[0] for service in client.status().services}

        wait_until(lambda: "worker" in keys(), lambda: f"workers in {keys()}")


def test_the_log_says_who_asked_and_no_secret(running, tokens):
    stand, url = running
    with Client(url, token=tokens["operate"]) as client:
        client.record([stand.name], images=1, file="who.h5", id="who")
    wait_until(lambda: "jobs=who" in stand.logs(), stand.logs)
    line = next(line for line in stand.logs().splitlines() if "jobs=who" in line)
    assert "token=operate" in line
    assert not [name for name, secret in tokens.items() if secret in stand.logs()]


def killed(stand: Stand, role: str) -> None:
    (pid,) = (pid for pid, words in stand.processes().items() if f" serve {role} " in words)
    os.kill(pid, signal.SIGKILL)


def test_a_watched_job_ends_although_hub_and_gateway_were_killed(running, tokens):
    stand, url = running
    with Client(url, token=tokens["operate"]) as client:
        for role in ("hub", "gateway"):
            (job,) = client.record([stand.name], images=300, file=f"killed-{role}.h5")
            states = []
            for update in client.watch(job.id):
                if not states:
                    killed(stand, role)
                states.append(update.body["state"])
            assert states[-1] == "finished"
            assert client.job(job.id).n_done == 300


# --- refusals at the start


@pytest.fixture
def stand(tmp_path) -> Iterator[Stand]:
    with Stand(tmp_path) as stand:
        yield stand


def refused(stand: Stand, *words: str) -> None:
    done = stand.forebay("serve", "gateway", "rest", "--config", stand.config_path)
    assert done.code == 1, done
    assert "traceback" not in done.err.lower(), done
    assert all(word in done.err for word in words), done


def test_an_open_address_without_tokens(stand):
    with_api(stand, address="0.0.0.0")
    refused(stand, "api.address 0.0.0.0 is open to other hosts", "forebay token add", "behind_proxy")


def test_a_busy_port(stand):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with_api(stand)
        port = taken.getsockname()[1]
        stand.configure({**stand.settings, "api": {"port": port}})
        refused(stand, f"Port {port} of 127.0.0.1 cannot be used", "api.port")


def test_no_interface_is_configured(stand):
    refused(stand, "has no REST interface", "Add api")


def test_tokens_that_others_may_read(stand):
    with_api(stand, address="0.0.0.0")
    file = TokenFile(stand.config.state_dir)
    file.add("ann", "read")
    file.path.chmod(0o644)
    refused(stand, "cannot be trusted", "chmod 600")


def test_no_hub(stand):
    with_api(stand)
    refused(stand, "bus")
