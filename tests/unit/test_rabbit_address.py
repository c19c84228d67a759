"""One URL names the hosts of a cluster; what a failure to connect means is said."""

import pytest

from forebay.errors import BusError
from forebay.run.bus.rabbit_address import addresses, check_files, is_final, reason, unreachable

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("amqp://host", ["amqp://host"]),
        ("amqp://me:a%2Fb@host:5673/v", ["amqp://me:a%2Fb@host:5673/v"]),
        ("amqp://me:pw@a,b:5673/%2F?x=1", ["amqp://me:pw@a/%2F?x=1", "amqp://me:pw@b:5673/%2F?x=1"]),
        ("amqps://a, b,[::1]:1/v", ["amqps://a/v", "amqps://b/v", "amqps://[::1]:1/v"]),
        ("amqp://me:p,w@a,b", ["amqp://me:p,w@a", "amqp://me:p,w@b"]),
    ],
)
def test_hosts_of_a_cluster(url, found):
    assert [str(one) for one in addresses(url)] == found


@pytest.mark.parametrize("url", ["amqp://", "amqp://me:pw@a,/v", "amqp://a,,b", "amqp://a:x"])
def test_what_is_no_address(url):
    with pytest.raises(ValueError):
        addresses(url)


@pytest.mark.parametrize(
    ("said", "told", "todo"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] x: self-signed (_ssl.c:1006)", "x: self-signed.", "cafile="),
        (
            "X, certificate is not valid for 'b'. (_ssl.c:1006)",
            "valid for 'b'.",
            "as the broker's certificate",
        ),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "wrong version", "amqp://"),
        ("Connect call failed", "Connect call failed.", "See that RabbitMQ runs"),
    ],
)
def test_what_to_do(said, told, todo):
    message = str(unreachable("amqps://b", reason(OSError(said))))
    assert told in message
    assert todo in message


def test_what_does_not_mend_itself():
    assert is_final(OSError("[SSL: CERTIFICATE_VERIFY_FAILED] x"))
    assert not is_final(OSError("Connect call failed"))


def test_files_are_named(tmp_path):
    url = addresses(f"amqps://b/?cafile={tmp_path}/ca.pem")[0]
    with pytest.raises(BusError, match=r"cafile .*/ca\.pem cannot be read \(No such file"):
        check_files(url)
    (tmp_path / "ca.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(BusError, match="is no certificate"):
        check_files(url)
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    check_files(url)
