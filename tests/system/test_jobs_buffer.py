"""A past range that only the buffer on disk remembers, asked for as a job."""

from contextlib import closing
from pathlib import Path

import pytest

from forebay.errors import OverwrittenError
from forebay.store.check import check_file

from .control_stand import ControlStand
from .stand import wait_until

pytestmark = [pytest.mark.system, pytest.mark.calm]


def test_what_left_memory_is_retrieved_from_disk(tmp_path):
    buffer = {"directory": str(tmp_path / "buffer"), "max_bytes": 2**30}
    with ControlStand(tmp_path, slots=32, detector={"buffer": buffer}) as stand:
        stand.serve_hub()
        stand.serve("receive").waits_to_say("receiving")
        stand.serve("assemble")
        with closing(stand.ring()) as ring, stand.operator() as operator:
            stand.serve("buffer").waits_to_say("buffering")
            stand.work_all(("retrieve", "1"))
            stand.simulate("--rate", 100, "--first", 1000)
            wait_until(lambda: ring.span and ring.span.first > 1100, "pulses that left memory")
            (plan,) = operator.plan("retrieve", {"sources": [stand.name], "pulses": "1010..1059"})
            assert int(plan.held.partition("..")[0]) <= 1010
            (job,) = operator.request("retrieve", {"sources": [stand.name], "pulses": "1010..1059"})
            done = operator.wait(job.id, 30)
            assert (done.state, done.n_done) == ("finished", 50), done
            assert check_file(Path(done.result["file"])).is_good
            with pytest.raises(OverwrittenError, match=r"10\.\.20.*buffer"):
                operator.request("retrieve", {"sources": [stand.name], "pulses": "10..20"})
