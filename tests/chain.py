"""Receive, assemble and record in threads of one process, over real sockets and a real ring."""

import threading
from contextlib import contextmanager
from pathlib import Path

from forebay.config import Config, parse
from forebay.ring.shared import SharedRing, wait_attach
from forebay.service.assemble import assemble
from forebay.service.receive import receive
from forebay.service.record import Recorder
from forebay.store.manifest import Manifest, Request

NAME = "D1"


class Chain:
    """The services of one detector while the ``with`` block runs; stopping drains them in order."""

    def __init__(self, directory: Path, runtime: Path, **detector) -> None:
        runtime.chmod(0o700)
        record = {"directory": str(directory), "min_free_bytes": 0}
        self.config: Config = parse(
            {"detectors": {NAME: detector}, "record": record, "runtime_dir": str(runtime)}, "test"
        )
        self._stops: list[threading.Event] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self.counters: dict[str, dict[str, int]] = {}

    def __enter__(self) -> "Chain":
        for body in (receive, assemble):
            stop = threading.Event()
            thread = threading.Thread(target=self._run, args=(body, stop), name=body.__name__)
            thread.start()
            self._stops.append(stop)
            self._threads.append(thread)
        self._ring = wait_attach(NAME, self.config.runtime_dir, 60)
        return self

    def _run(self, body, stop) -> None:
        try:
            body(self.config, NAME, stop)
        except BaseException as error:  # noqa: BLE001 - raised again at the end
            self._failures.append(error)

    def recorder(self, file: str, idle_s: float = 10.0, **request) -> Recorder:
        return Recorder(self.config, NAME, file, Request(**request), idle_s=idle_s)

    @contextmanager
    def recording(self, file: str, idle_s: float = 3.0, **request):
        """Record beside the body; the list that is lent holds the manifest afterwards."""
        recorder = self.recorder(file, idle_s, **request)
        manifests: list[Manifest] = []
        thread = threading.Thread(target=lambda: manifests.append(recorder.run(threading.Event())))
        thread.start()
        yield manifests
        thread.join(120)
        assert not thread.is_alive()

    @property
    def ring(self) -> SharedRing:
        return self._ring

    def __exit__(self, *_) -> None:
        for stop, thread in zip(self._stops, self._threads, strict=True):
            stop.set()
            thread.join(30)
            assert not thread.is_alive()
        self.counters = self._ring.counters()
        self._ring.close()
        assert self._failures == []
