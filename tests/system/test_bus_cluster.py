"""A cluster of three RabbitMQ: nodes are killed, the queue's leader first, and every job ends, once.

Takes a minute and three brokers: ``FOREBAY_CLUSTER=1`` to run it.
"""

import os
import re
from contextlib import ExitStack, closing

import pytest

from forebay.job import ENDS
from forebay.run.bus import connect
from forebay.run.owner import host_name

from .bus_stand import drain, request
from .control_stand import ControlStand
from .rabbit import Rabbit, missing
from .stand import wait_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.skipif("FOREBAY_CLUSTER" not in os.environ, reason="FOREBAY_CLUSTER is not set"),
]

N_NODES = 3
N_JOBS = 12
N_IMAGES = 200


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    if why := missing():
        pytest.fail(why)
    with ExitStack() as open_:
        brokers = []
        for i in range(N_NODES):
            directory = tmp_path_factory.mktemp(f"rabbit-{i}")
            brokers.append(open_.enter_context(Rabbit(directory, joins=brokers[0] if brokers else None)))
        yield brokers


@pytest.fixture
def url(nodes):
    hosts = ",".join(f"127.0.0.1:{one.port}" for one in nodes)
    return f"amqp://guest:guest@{hosts}/"


def leader_of(nodes, queue):
    """Return the node that leads a queue: the one that everything goes through."""
    said = nodes[0].tell(
        f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue}">>)), '
        "{_, Node} = amqqueue:get_pid(Q), [Node, maps:get(nodes, amqqueue:get_type_state(Q))]."
    )
    names = re.findall(r"forebay-\w+@localhost", said)
    assert len(names) == 1 + N_NODES, said  # every node has a copy
    return next(one for one in nodes if one.node == names[0])


def test_the_next_node_is_used_when_ours_is_killed(stand, nodes):
    bus = connect(stand.config, patience_s=60)
    with closing(bus):
        listener = bus.statuses()
        bus.declare("test-first", ["test.first"])
        for i, victim in enumerate(nodes):
            victim.kill()
            bus.request(request(i, "test.first"))
            bus.publish(request(i, "news"))
            assert listener.read(60).id == f"request-{i}"
            victim.start()
        assert sorted(drain(bus.work("test-first"), 5)) == [f"request-{i}" for i in range(N_NODES)]
        assert listener.n_gaps >= 1


def test_jobs_survive_the_leader_of_their_queue(stand, nodes):
    stand.serve_detector()
    stand.work_all(("record", "1"), ("record", "2"))
    with stand.operator() as operator:
        asked = {"sources": [stand.name], "images": N_IMAGES}
        jobs = [operator.request("record", asked, id=f"r{i}")[0] for i in range(N_JOBS)]
        victim = leader_of(nodes, f"record.{host_name()}")
        wait_until(lambda: operator.job("r0").n_done > 10, stand.logs)
        victim.kill()
        jobs += [operator.request("record", asked, id=f"s{i}")[0] for i in range(2)]
        for job in jobs:
            ended = operator.wait(job.id, 120)
            assert (ended.state, ended.n_done) == ("finished", N_IMAGES), (ended, stand.logs())
            assert [change.state in ENDS for change in ended.history].count(True) == 1
        assert [run.number for run in operator.runs(limit=100)] == list(range(N_JOBS + 2, 0, -1))
        victim.start()


@pytest.fixture
def stand(url, tmp_path):
    with ControlStand(tmp_path, bus=url) as one:
        yield one
