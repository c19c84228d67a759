"""REST over a stand-in operator: every route, every refusal, one form of error."""

import json

import pytest
from starlette.testclient import TestClient
from tests.operator_stand_in import StandInOperator

from forebay import errors
from forebay.api.answers import status_of
from forebay.api.dashboard import Picture
from forebay.api.feed import Feed
from forebay.api.glance import Glance
from forebay.api.guard import Guard, check_bind
from forebay.api.rest import rest_app
from forebay.api.route import Rest
from forebay.api.tokens import TokenFile
from forebay.config import ApiConfig, parse
from forebay.errors import BusError, ConfigError, NoWorkerError, OverwrittenError

pytestmark = pytest.mark.flow

RECORD = {"kind": "record", "parameters": {"sources": ["jf"], "images": 10}}


@pytest.fixture
def operator():
    return StandInOperator()


@pytest.fixture
def tokens(tmp_path):
    return TokenFile(tmp_path / "state")


@pytest.fixture
def serve(operator, tokens, monkeypatch):
    """Return a function that makes a client of the guarded application."""
    monkeypatch.setattr("forebay.api.feed._READ_S", 0.01)
    feeds = []

    def make(api=None, token="", base_url="http://127.0.0.1", **config):
        feed = Feed(operator, most=3, heartbeat_s=0.05)
        feeds.append(feed)
        rest = Rest(parse(config, "test"), operator, feed, lambda: "forebay_up 1\n", picture)
        guarded = Guard(rest_app(rest), api or ApiConfig(), tokens)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return TestClient(guarded, base_url=base_url, headers=headers, raise_server_exceptions=False)

    yield make
    for feed in feeds:
        feed.close()


def picture(detector):
    if detector != "jf":
        raise ConfigError(f"There is no detector {detector}.")
    return Picture(17, (2, 3), 0.0, 1234.5678, bytes(range(6)))


def refusal(response, status):
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error", "what", "todo"}
    assert body["what"]
    return f"{body['error']}: {body['what']} {body['todo']}"


# --- what can be done


def test_a_request_is_accepted_and_followed(serve, operator):
    client = serve()
    made = client.post("/jobs", json={**RECORD, "id": "a"})
    assert made.status_code == 201
    (job,) = made.json()
    assert (job["id"], job["state"], job["n_asked"], job["proposal"]) == ("a", "queued", 10, "default")
    assert client.post("/jobs", json={**RECORD, "id": "a"}).json() == [job]
    assert client.get("/jobs/a").json() == job
    assert client.get("/jobs", params={"state": "queued"}).json() == [job]
    assert client.get("/jobs", params={"state": "running"}).json() == []
    assert client.get("/jobs/a/wait", params={"timeout": 0.05}).json() == job
    assert client.post("/jobs/a/cancel").json()["state"] == "cancelled"
    assert client.get("/jobs/a/wait").json()["state"] == "cancelled"
    assert "has ended" in refusal(client.post("/jobs/a/finish"), 409)


def test_one_job_for_each_source(serve):
    made = (
        serve()
        .post("/jobs", json={"kind": "record", "id": "x", "parameters": {"sources": ["a", "b"]}})
        .json()
    )
    assert [job["id"] for job in made] == ["x.a", "x.b"]


@pytest.mark.parametrize(
    "wanted",
    [
        RECORD,
        {"kind": "retrieve", "parameters": {"sources": ["jf"], "pulses": "1..10"}},
        {"kind": "check", "parameters": {"files": ["a.h5"]}},
        {"kind": "routine", "parameters": {"name": "pedestal"}},
    ],
)
def test_every_kind_can_be_planned(serve, wanted):
    (plan,) = serve().post("/plan", json=wanted).json()
    assert plan["file"] == "/data/x.h5"


def test_a_run(serve):
    client = serve()
    run = "/proposals/p1/run"
    assert client.get(run).json()["state"] == "idle"
    said = refusal(client.post(f"{run}/start"), 409)
    assert "StateError" in said
    assert "prepare" in said
    assert client.post(f"{run}/prepare", json={"sources": ["jf"], "tag": "dark"}).json()["state"] == "ready"
    assert client.post(f"{run}/start", json={"timeout": 5}).json()["state"] == "running"
    assert client.post(f"{run}/stop").json()["state"] == "idle"
    assert client.get("/proposals/p1/runs").json()[0]["tag"] == "dark"
    assert client.get("/proposals/p1/runs", params={"before": 1}).json() == []
    assert client.get("/proposals/p2/run").json()["run"] is None


def test_lists(serve):
    client = serve()
    assert [one["name"] for one in client.get("/proposals").json()] == ["default", "p1", "p2"]
    assert client.get("/routines").json() == {"pedestal": "Take a pedestal."}
    assert [one["proposal"] for one in client.get("/files", params={"proposal": "p1"}).json()] == ["p1"]
    assert len(client.get("/files").json()) == 3
    assert client.get("/status").json()["services"][0]["key"] == "service.h.receive.jf"
    assert client.get("/health").json()["state"] == "alive"
    assert client.get("/ready").json()["state"] == "ready"
    assert client.get("/metrics").text == "forebay_up 1\n"


def test_the_status_is_looked_up_a_few_times_a_second(operator):
    now = [0.0]
    glance = Glance(operator, lambda: now[0])
    first = glance.look("p1")
    assert glance.look("p1") is first
    assert glance.recent("p1") is first
    assert glance.recent("p2") is None
    now[0] = 0.26
    assert glance.recent("p1") is None
    assert glance.look("p1") is not first
    operator.fault = BusError("gone")
    now[0] = 1.0
    with pytest.raises(BusError):
        glance.look("p1")
    assert glance.look("p1") is glance.recent("p1")


def test_to_administer_needs_a_token_also_on_this_host(serve):
    """Others may be logged in here: a proposal's folder says where our workers write."""
    client = serve()
    for response in (
        client.get("/configuration"),
        client.put("/proposals/p1", json={"directory": "/etc"}),
        client.post("/proposals/p1/close"),
    ):
        assert response.status_code == 403
        assert "--scope admin" in response.json()["todo"]


def test_the_configuration_shows_no_password(serve, tokens):
    client = serve(bus="amqp://me:hunter2@host/x", token=tokens.add("boss", "admin"))
    assert client.get("/configuration").json()["bus"] == "amqp://me:***@host/x"


# --- errors have one form


def test_every_error_has_a_status():
    statuses = {name: status_of(kind("x")) for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert set(statuses.values()) == {400, 401, 403, 404, 409, 410, 503}
    assert statuses["RangeError"] == 400
    assert statuses["TokenError"] == 401
    assert statuses["NoAnswerError"] == 503


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("no", "do"), 400),
        (OverwrittenError("no", "do"), 410),
        (NoWorkerError("no", "do"), 503),
        (BusError("no", "do"), 503),
    ],
)
def test_an_error_of_the_operator(serve, operator, error, status):
    client = serve()
    operator.fault = error
    assert refusal(client.get("/jobs"), status) == f"{type(error).__name__}: no do"


def test_a_fault_of_ours_says_nothing_of_the_inside(serve, operator):
    client = serve()
    operator.fault = ZeroDivisionError("secret")
    said = refusal(client.get("/jobs"), 500)
    assert "secret" not in said
    assert "ZeroDivision" not in said


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({}, ["kind"]),
        ({"kind": "fly", "parameters": {}}, ["record", "fly"]),
        ({"kind": "record"}, ["parameters", "required"]),
        ({**RECORD, "imges": 3}, ["imges is not a known key"]),
        ({"kind": "record", "parameters": {"sources": ["jf"], "images": 0}}, ["images", "found '0'"]),
        ({"kind": "record", "parameters": {"sources": []}}, ["sources"]),
        ({"kind": "record", "parameters": {"sources": ["jf"], "pulses": "9..1"}}, ["pulses", "reversed"]),
        ({"kind": "record", "parameters": {"sources": ["jf"], "file": "../x"}}, ["file", "'..'"]),
        ({**RECORD, "proposal": "../x"}, ["proposal"]),
        ({**RECORD, "run": 2**70}, ["run"]),
        ({**RECORD, "deadline_s": -1}, ["deadline_s"]),
        ([], ["dictionary"]),
    ],
)
def test_a_wrong_request_names_what_is_wrong(serve, wanted, words):
    said = refusal(serve().post("/jobs", json=wanted), 422)
    assert all(word in said for word in words), said


def test_too_many_pulses(serve):
    wanted = {"kind": "retrieve", "parameters": {"sources": ["jf"], "pulses": "1..9000000"}}
    assert "quotas.pulses" in refusal(serve().post("/jobs", json=wanted), 400)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'"\\ud800"', b"NaN", b"{} {}"])
def test_bodies_that_are_no_json(serve, body):
    response = serve().post("/jobs", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422), response.text
    assert "application/json" in response.json()["todo"]


def test_a_body_without_its_type_is_told_how_to_be_sent(serve):
    body = json.dumps(RECORD)
    response = serve().post("/jobs", content=body, headers={"content-type": "text/plain"})
    assert "header Content-Type: application/json" in refusal(response, 422)


def test_ways_that_are_not_there(serve):
    client = serve()
    assert "openapi.json" in refusal(client.get("/nothing"), 404)
    assert "Method Not Allowed" in refusal(client.delete("/jobs"), 405)
    assert "no job x" in refusal(client.get("/jobs/x"), 404)
    assert "no proposal p9" in refusal(client.get("/proposals/p9/run"), 404)
    for path in ("/jobs/..%2f..%2fetc", "/jobs/%00", "/proposals/%20/run", "/jobs?limit=0", "/jobs?state=x"):
        refusal(client.get(path), 404 if "%2f" in path else 422)


# --- who may ask


@pytest.mark.parametrize("path", ["/jobs", "/status", "/metrics", "/watch", "/configuration", "/proposals"])
def test_no_token(serve, tokens, path):
    tokens.add("ann", "read")
    response = serve().get(path)
    assert "Authorization: Bearer TOKEN" in refusal(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Bearer x", "Bearer", "Basic eDp5", "Bearer \xff", "bearer  "])
def test_a_wrong_token(serve, tokens, header):
    tokens.add("ann", "admin")
    response = serve().get("/jobs", headers={"Authorization": header.encode("latin-1")})
    assert "TokenError" in refusal(response, 401)


def test_health_needs_no_token(serve, tokens):
    tokens.add("ann", "read")
    assert serve().get("/health").status_code == 200
    assert serve().get("/ready").status_code == 200
    assert serve().get("/openapi.json").status_code == 200


def test_without_bus_or_catalogue_it_is_not_ready(serve, operator):
    client = serve()
    operator.fault = errors.BusError("The message broker is away.", "Start it.")
    assert "is away" in refusal(client.get("/ready"), 503)
    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 200


READ = [
    ("GET", "/live"),
    ("GET", "/live/jf"),
    ("GET", "/jobs"),
    ("GET", "/status"),
    ("GET", "/files"),
    ("GET", "/metrics"),
    ("GET", "/proposals"),
]
OPERATE = [
    ("POST", "/jobs"),
    ("POST", "/plan"),
    ("POST", "/jobs/a/cancel"),
    ("POST", "/jobs/a/finish"),
    ("POST", "/proposals/p1/run/prepare"),
    ("POST", "/proposals/p1/run/start"),
    ("POST", "/proposals/p1/run/stop"),
    ("POST", "/proposals/p1/run/abort"),
]
ADMIN = [("GET", "/configuration"), ("PUT", "/proposals/p1"), ("POST", "/proposals/p1/close")]
BODIES = {
    "/jobs": RECORD,
    "/plan": RECORD,
    "/proposals/p1/run/prepare": {"sources": ["jf"]},
    "/proposals/p1": {"directory": "/data/p1"},
}


@pytest.mark.parametrize(
    ("scope", "needed", "way"),
    [
        (scope, needed, way)
        for scope in ("read", "operate", "admin")
        for needed, ways in (("read", READ), ("operate", OPERATE), ("admin", ADMIN))
        for way in ways
    ],
)
def test_scopes(serve, operator, tokens, scope, needed, way):
    operator.request(**RECORD, id="a")
    method, path = way
    order = ["read", "operate", "admin"]
    response = serve(token=tokens.add("ann", scope)).request(method, path, json=BODIES.get(path))
    if order.index(scope) < order.index(needed):
        assert f"needs the scope {needed}; the token of ann has {scope}" in refusal(response, 403)
    else:
        assert response.status_code in (200, 201, 409), response.text


def test_every_route_is_of_some_scope(serve):
    free = {"/health", "/ready"}
    known = {way for ways in (READ, OPERATE, ADMIN) for way in ways}
    known |= {("GET", path) for path in ("/jobs/a", "/jobs/a/wait", "/watch", "/routines", *free)}
    known |= {("GET", "/proposals/p1/run"), ("GET", "/proposals/p1/runs")}
    document = serve().get("/openapi.json").json()
    ways = {
        (method.upper(), path.format(job_id="a", proposal="p1", detector="jf"))
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert ways == known


def test_a_token_for_one_proposal(serve, operator, tokens):
    for proposal in ("p1", "p2"):
        operator.request(**RECORD, id=f"of-{proposal}", proposal=proposal)
    client = serve(token=tokens.add("ann", "operate", ["p1"]))
    assert "is for p1, not for p2" in refusal(client.post("/jobs", json={**RECORD, "proposal": "p2"}), 403)
    assert "not for default" in refusal(client.post("/jobs", json=RECORD), 403)
    for path in ("/jobs?proposal=p2", "/files?proposal=p2", "/proposals/p2/run", "/status?proposal=p2"):
        assert "is for p1" in refusal(client.get(path), 403)
    for method, path in (("GET", ""), ("GET", "/wait"), ("POST", "/cancel"), ("POST", "/finish")):
        assert "no job of-p2" in refusal(client.request(method, f"/jobs/of-p2{path}"), 404)
    refusal(client.get("/watch?job=of-p2"), 404)
    refusal(client.get("/live/jf"), 403)
    assert client.get("/live").json() == []
    refusal(client.post("/proposals/p2/run/abort"), 403)
    assert [job["id"] for job in client.get("/jobs").json()] == ["of-p1"]
    assert [job["id"] for job in client.get("/status").json()["jobs"]] == ["of-p1"]
    assert [one["name"] for one in client.get("/proposals").json()] == ["p1"]
    assert {one["proposal"] for one in client.get("/files").json()} == {"p1"}
    assert operator.job("of-p2").state == "queued"
    stolen = {**RECORD, "proposal": "p1", "id": "of-p2"}
    refusal(client.post("/jobs", json=stolen), 404)


def test_proposals_are_booked_and_closed(serve, tokens):
    client = serve(token=tokens.add("ann", "admin"))
    made = client.put("/proposals/p7", json={"directory": "/data/seven"}).json()
    assert (made["name"], made["directory"], made["closed_ns"]) == ("p7", "/data/seven", None)
    assert [one["name"] for one in client.get("/proposals").json()][-1] == "p7"
    assert client.post("/proposals/p7/close").json()["closed_ns"]
    assert "closed already" in refusal(client.post("/proposals/p7/close"), 409)
    assert "no proposal p9" in refusal(client.post("/proposals/p9/close"), 404)
    refusal(client.put("/proposals/p7", json={}), 422)
    refusal(client.put("/proposals/%20", json={"directory": "/data"}), 422)
    some = serve(token=tokens.add("eve", "admin", ["p1"]))
    assert "is for p1, not for p2" in refusal(some.put("/proposals/p2", json={"directory": "/x"}), 403)
    assert "is for p1, not for p2" in refusal(some.post("/proposals/p2/close"), 403)


def test_a_job_belongs_to_who_asked(serve, tokens):
    client = serve(token=tokens.add("ann", "operate"))
    (job,) = client.post("/jobs", json=RECORD).json()
    assert job["owner"] == "ann"
    assert job["history"][0]["who"] == "ann"


def test_a_revoked_token_is_of_no_use_at_once(serve, tokens):
    client = serve(token=tokens.add("ann", "read"))
    assert client.get("/jobs").status_code == 200
    tokens.revoke("ann")
    assert "not known" in refusal(client.get("/jobs"), 401)


# --- from where


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.1.2.3", "fe80::1"])
def test_other_addresses_need_tokens(tokens, address):
    with pytest.raises(ConfigError, match=r"no token\. Make one: forebay token add"):
        check_bind(ApiConfig(address=address), tokens)
    check_bind(ApiConfig(address=address, behind_proxy=True), tokens)
    tokens.add("ann", "read")
    check_bind(ApiConfig(address=address), tokens)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_none(tokens, address):
    check_bind(ApiConfig(address=address), tokens)


def test_an_address_that_is_none(tokens):
    with pytest.raises(ConfigError, match=r"api\.address 'daq' is no IP address"):
        check_bind(ApiConfig(address="daq"), tokens)


def test_tokens_are_needed_on_other_addresses_whatever_happens_to_the_file(serve, tokens):
    client = serve(api=ApiConfig(address="10.1.2.3"))
    assert not tokens.exists
    refusal(client.get("/jobs"), 401)
    assert serve(api=ApiConfig(address="10.1.2.3", behind_proxy=True)).get("/jobs").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8700", 200),
        ("localhost", 200),
        ("LOCALHOST:8700", 200),
        ("[::1]:8700", 200),
        ("daq.example.org", 200),
        ("evil.example.org", 403),
        ("127.0.0.1.evil.example.org", 403),
        ("localhost.evil.example.org:8700", 403),
        ("", 403),
        ("[evil]", 403),
    ],
)
def test_names_that_are_not_ours(serve, host, status):
    api = ApiConfig(host_names=["daq.example.org"])
    response = serve(api=api).get("/jobs", headers={"Host": host})
    assert response.status_code == status
    if status == 403:
        assert "api.host_names" in refusal(response, 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example.org"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_pages_of_others(serve, operator, method, headers):
    response = serve().request(method, "/jobs", headers=headers, json=RECORD)
    refusal(response, 403)
    assert "access-control-allow-origin" not in response.headers
    assert operator.jobs() == []


def test_pages_of_ours(serve):
    headers = {"Origin": "http://127.0.0.1:8700", "Host": "127.0.0.1:8700", "Sec-Fetch-Site": "same-origin"}
    assert serve().get("/jobs", headers=headers).status_code == 200
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert serve().get("/health", headers=visit).status_code == 200
    refusal(serve().post("/jobs", headers=visit, json=RECORD), 403)


# --- how much


def test_a_large_body(serve, operator):
    client = serve(api=ApiConfig(max_body_bytes=1024))
    large = json.dumps({**RECORD, "id": "x" * 2000}).encode()
    assert "2" in refusal(client.post("/jobs", content=large), 413)
    pieces = (large[i : i + 100] for i in range(0, len(large), 100))  # without content-length
    response = client.post("/jobs", content=pieces, headers={"content-type": "application/json"})
    assert "more than 1024 bytes" in refusal(response, 413)
    refusal(client.post("/jobs", json=RECORD, headers={"content-length": "-1"}), 413)
    assert operator.jobs() == []
    assert client.post("/jobs", json=RECORD).status_code == 201


# --- the page


def test_the_page_needs_no_token_and_runs_nothing_of_others(serve, tokens):
    tokens.add("ann", "read")
    client = serve()
    for path, kind in (
        ("/", "text/html"),
        ("/dashboard.js", "text/javascript"),
        ("/dashboard.css", "text/css"),
    ):
        response = client.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        assert "script-src 'self'" in response.headers["content-security-policy"]
        assert "http://" not in response.text
        assert "https://" not in response.text
    assert "innerHTML" not in client.get("/dashboard.js").text
    refusal(client.get("/live/jf"), 401)


def test_live_images(serve):
    live = {"live": {"endpoint": "tcp://127.0.0.1:9400"}}
    client = serve(
        detectors={"jf": {"type": "jungfrau", **live}, "x": {"type": "eiger", "start_udp_port": 1}}
    )
    assert client.get("/live").json() == ["jf"]
    response = client.get("/live/jf")
    assert response.content == bytes(range(6))
    assert response.headers["x-forebay-shape"] == "2,3"
    assert response.headers["x-forebay-pulse"] == "17"
    assert response.headers["x-forebay-range"] == "0,1234.57"
    assert "no detector" in refusal(client.get("/live/nobody"), 400)


# --- the document


def test_the_document_describes_every_field(serve):
    document = serve().get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert "Where it stands" in schemas["Job"]["properties"]["state"]["description"]
    assert {"RecordRequest", "RetrieveRequest", "CheckRequest", "RoutineRequest"} <= set(schemas)
    described = [
        (name, key)
        for name in ("Job", "Plan", "Run", "File", "Proposal", "Status", "RunStatus", "RecordParameters")
        for key, value in schemas[name]["properties"].items()
        if not value.get("description")
    ]
    assert len(described) <= 12, described
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            assert one["description"], path
            assert {"400", "401", "403", "404", "409", "422", "503"} <= set(one["responses"]), (path, method)
    content = document["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert set(content["examples"]) == {"record", "retrieve", "check", "routine"}


def test_the_examples_of_the_document_work(serve):
    client = serve()
    document = client.get("/openapi.json").json()
    content = document["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        assert client.post("/plan", json=example["value"]).status_code == 200
