"""RabbitMQ and PostgreSQL over TLS, with certificates of an authority of one's own on both sides."""

import json
import os
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from tests.system import postgres, rabbit
from tests.system.certificates import Authority
from tests.system.stand import Stand

from forebay.config import Config
from forebay.errors import BusError, CatalogError
from forebay.run.bus import connect
from forebay.store.catalog import open_catalog

pytestmark = pytest.mark.system


class Servers:
    """A broker and a database that let in who shows a certificate of their authority."""

    def __init__(self, directory: Path) -> None:
        authority, stranger = Authority(directory / "ours"), Authority(directory / "theirs")
        self.ca, self.other_ca = authority.path, stranger.path
        self.user = authority.certificate("forebay", is_user=True)
        self.stranger = stranger.certificate("forebay", is_user=True)
        certificate = authority.certificate("localhost")
        (directory / "rabbit").mkdir()
        self.rabbit = rabbit.Rabbit(directory / "rabbit", certificate=certificate, asks_clients=True)
        self.postgres = postgres.Postgres(directory / "postgres", certificate=certificate, asks_clients=True)

    def bus(self, *, ca=None, user=None):
        user = user or self.user
        return f"{self.rabbit.url}?cafile={ca or self.ca}&certfile={user.path}&keyfile={user.key}"

    def catalog(self, *, ca=None, user=None):
        user = user or self.user
        return (
            f"{self.postgres.database()}?sslmode=verify-full&sslrootcert={ca or self.ca}"
            f"&sslcert={user.path}&sslkey={user.key}"
        )


@pytest.fixture(scope="module")
def servers():
    if reason := rabbit.missing() or postgres.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with tempfile.TemporaryDirectory(prefix="fb-tls-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)  # not below pytest's, which only its user may enter
        both = Servers(Path(directory))
        with both.rabbit, both.postgres:
            yield both


def test_a_record(servers, tmp_path):
    with Stand(tmp_path, workers={"record": 1}) as stand:
        stand.configure({**stand.settings, "bus": servers.bus(), "catalog": servers.catalog()})
        supervisor = stand.run()
        stand.simulate("--rate", 200)
        done = stand.forebay("record", stand.name, "-c", stand.config_path, "--images", 50, "--json")
        assert done.code == 0, f"{done}\n{stand.logs()}"
        with closing(open_catalog(stand.config)) as catalog:
            (file,) = catalog.files("default")
            assert file.n_got == 50
        shown = stand.forebay("config", "show", stand.config_path, "--json")
        assert json.loads(shown.out)
        assert supervisor.stop().code == 0, supervisor
        assert "guest:guest" not in stand.logs() + shown.out


def why_not(open_it, **settings):
    with pytest.raises((BusError, CatalogError)) as refused:
        open_it(Config(**settings)).close()
    return str(refused.value)


@pytest.mark.parametrize(
    "what", ["another authority", "no authority", "another host name", "a stranger", "nobody"]
)
def test_a_broker_that_is_not_trusted_or_does_not_trust(servers, what):
    url, words = {
        "another authority": (servers.bus(ca=servers.other_ca), ["verify failed", "cafile="]),
        "no authority": (servers.rabbit.url, ["verify failed", "cafile="]),
        "another host name": (
            servers.bus().replace("localhost", "127.0.0.1"),
            ["not valid for '127.0.0.1'", "Write the host in `bus` as"],
        ),
        "a stranger": (
            servers.bus(user=servers.stranger),
            ["unknown ca", "does not know who signed certfile"],
        ),
        "nobody": (f"{servers.rabbit.url}?cafile={servers.ca}", ["add certfile and keyfile"]),
    }[what]
    message = why_not(lambda config: connect(config, patience_s=20), bus=url)
    assert all(word in message for word in words), message
    assert "guest:guest" not in message


@pytest.mark.parametrize(
    "what", ["another authority", "no authority", "another host name", "a stranger", "nobody"]
)
def test_a_database_that_is_not_trusted_or_does_not_trust(servers, what):
    plain = servers.postgres.database()
    url, words = {
        "another authority": (servers.catalog(ca=servers.other_ca), ["verify failed", "sslrootcert="]),
        "no authority": (f"{plain}?sslmode=verify-full", ["root.crt", "sslrootcert="]),
        "another host name": (
            servers.catalog().replace("localhost", "127.0.0.1"),
            ["does not match host name", "Write the host in `catalog` as"],
        ),
        "a stranger": (
            servers.catalog(user=servers.stranger),
            ["unknown ca", "does not know who signed sslcert"],
        ),
        "nobody": (f"{plain}?sslmode=verify-full&sslrootcert={servers.ca}", ["add sslcert and sslkey"]),
    }[what]
    message = why_not(open_catalog, catalog=url)
    assert all(word in message for word in words), message
    assert plain.split(":")[2].split("@")[0] not in message


def test_no_connection_without_tls(servers):
    plain = servers.rabbit.url.replace("amqps", "amqp")
    assert "write amqps://" in why_not(lambda config: connect(config, patience_s=2), bus=plain)
    unsafe = f"{servers.postgres.database()}?sslmode=disable"
    assert "sslmode=verify-full" in why_not(open_catalog, catalog=unsafe)
