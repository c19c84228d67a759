"""Tokens: hashed at rest, private, scoped, for proposals, until a time."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from forebay.api.tokens import ANYONE, PREFIX, TokenFile, demand_proposal, demand_scope, moment
from forebay.cli.app import app
from forebay.errors import AccessError, ConfigError, TokenError

pytestmark = pytest.mark.unit


@pytest.fixture
def file(tmp_path):
    return TokenFile(tmp_path / "state")


def test_a_token_opens_until_it_is_revoked(file):
    assert not file.exists
    secret = file.add("ann", "operate", ["p1", "p0", "p1"])
    other = file.add("bob", "read")
    assert secret.startswith(PREFIX)
    assert len(secret) >= len(PREFIX) + 43
    assert file.holder(secret).name == "ann"
    assert file.holder(secret).proposals == ("p0", "p1")
    assert TokenFile(file.path.parent).holder(other).name == "bob"
    file.revoke("ann")
    with pytest.raises(TokenError, match="not known"):
        file.holder(secret)
    assert file.holder(other).name == "bob"


def test_a_change_by_another_process_counts_at_once(file):
    secret = file.add("ann", "read")
    file.holder(secret)
    TokenFile(file.path.parent).revoke("ann")
    with pytest.raises(TokenError):
        file.holder(secret)
    assert file.exists  # it does not open the door again


def test_the_secret_is_not_kept(file):
    secret = file.add("ann", "admin")
    assert secret.removeprefix(PREFIX) not in file.path.read_text()
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in file.path.parent.iterdir()} == {"tokens.json", "tokens.lock"}


@pytest.mark.parametrize("text", ["", "forebay_", "x" * 10_000, "\udcff", "é"])
def test_what_is_no_token(file, text):
    file.add("ann", "read")
    with pytest.raises(TokenError):
        file.holder(text)


def test_every_token_is_compared(file, monkeypatch):
    secrets = [file.add(f"t{i}", "read") for i in range(5)]
    compared = []

    def compare(one, other):
        compared.append(other)
        return one == other

    monkeypatch.setattr("forebay.api.tokens.hmac.compare_digest", compare)
    file.holder(secrets[0])
    assert len(compared) == 5


def test_expiry(file):
    secret = file.add("ann", "read", expires=datetime.now(UTC) + timedelta(seconds=60))
    assert file.holder(secret)
    (token,) = file.tokens()
    assert not token.has_expired(token.expires - timedelta(seconds=1))
    assert token.has_expired(token.expires)
    text = file.path.read_text().replace(f"{token.expires.year}-", "2001-")
    file.path.write_text(text)
    with pytest.raises(TokenError, match="expired at 2001-"):
        file.holder(secret)
    with pytest.raises(ConfigError, match="of no use"):
        file.add("bob", "read", expires=datetime.now(UTC) - timedelta(seconds=1))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_read_is_not_trusted(file, mode):
    secret = file.add("ann", "read")
    file.path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:o}"):
        file.holder(secret)


def test_a_link_is_not_trusted(file, tmp_path):
    file.add("ann", "read")
    file.path.rename(tmp_path / "x")
    file.path.symlink_to(tmp_path / "x")
    with pytest.raises(ConfigError, match="cannot be trusted"):
        file.tokens()


@pytest.mark.parametrize("text", ["", "{}", "[{}]", '[{"name": 1}]', "\0"])
def test_a_file_that_is_something_else(file, text):
    file.add("ann", "read")
    file.path.write_text(text)
    with pytest.raises(ConfigError, match="cannot be read"):
        file.tokens()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("", "read"), "not the name"),
        (("a b", "read"), "not the name"),
        (("a", "write"), "read, operate, admin"),
        (("ann", "read"), "forebay token revoke ann"),
    ],
)
def test_refused(file, words, said):
    file.add("ann", "read")
    with pytest.raises(ConfigError, match=said):
        file.add(*words)


def test_revoking_nobody(file):
    file.add("ann", "read")
    with pytest.raises(ConfigError, match="There are: ann"):
        file.revoke("bob")


def test_scopes_and_proposals(file):
    file.add("ann", "operate", ["p1"])
    (ann,) = file.tokens()
    for scope in ("read", "operate"):
        demand_scope(ann, scope, "This")
    with pytest.raises(AccessError, match="This needs the scope admin; the token of ann has operate"):
        demand_scope(ann, "admin", "This")
    demand_proposal(ann, "p1")
    for proposal in ("p2", None, ""):
        with pytest.raises(AccessError, match="is for p1"):
            demand_proposal(ann, proposal)
    demand_scope(ANYONE, "operate", "This")
    with pytest.raises(AccessError, match="--scope admin"):
        demand_scope(ANYONE, "admin", "This")
    for proposal in ("p9", None):
        demand_proposal(ANYONE, proposal)


@pytest.mark.parametrize(("text", "hours"), [("90m", 1.5), ("12h", 12), ("30d", 720), ("2w", 336)])
def test_durations(text, hours):
    left = moment(text) - datetime.now(UTC)
    assert abs(left.total_seconds() - hours * 3600) < 60


def test_dates():
    assert moment("2027-03-31") == datetime(2027, 3, 31, tzinfo=UTC)
    assert moment("2027-03-31T10:00+02:00") == datetime(2027, 3, 31, 8, tzinfo=UTC)
    for text in ("soon", "30", "-3d", "30y", "99999w"):
        with pytest.raises(ConfigError, match="is not a time"):
            moment(text)


def test_commands(tmp_path):
    config = tmp_path / "forebay.yaml"
    config.write_text("state_dir: state")

    def run(*words):
        result = CliRunner().invoke(app, ["token", *words, "--config", str(config)])
        assert result.exit_code == 0, result.output
        return result.stdout

    secret = run("add", "ann", "--scope", "operate", "--proposal", "p1", "--expires", "30d").strip()
    other = json.loads(run("add", "bob", "--json"))["token"]
    file = TokenFile(tmp_path / "state")
    assert (file.holder(secret).name, file.holder(other).scope) == ("ann", "read")
    listed = json.loads(run("list", "--json"))
    assert [(one["name"], one["scope"], one["proposals"]) for one in listed] == [
        ("ann", "operate", ["p1"]),
        ("bob", "read", []),
    ]
    assert not listed[0]["expired"]
    assert [line.split()[:3] for line in run("list").splitlines()] == [
        ["ann", "operate", "p1"],
        ["bob", "read", "every"],
    ]
    assert secret not in run("list")
    run("revoke", "ann")
    assert len(json.loads(run("list", "--json"))) == 1


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be changed"):
        TokenFile(tmp_path / "file" / "state").add("ann", "read")
