"""A worker in a process of its own: ``bus_worker.py CONFIG QUEUE hold|work [DIRECTORY] [SECONDS]``.

``hold`` takes one request and keeps it. ``work`` makes the effect of each request in DIRECTORY exactly once,
by its id, as the table of jobs does; SECONDS is the time that each takes. Each taken request is a line.
"""

import json
import sys
import time
from pathlib import Path

from forebay.config import load
from forebay.run.bus import connect


def main() -> None:
    config, queue, what, *more = sys.argv[1:]
    bus = connect(load(Path(config)), name="worker", patience_s=60)
    work = bus.work(queue)
    while True:
        delivery = work.take(1)
        if delivery is None:
            continue
        print(json.dumps({"id": delivery.message.id, "redelivered": delivery.redelivered}))
        if what == "hold":
            time.sleep(3600)
        time.sleep(float(more[1]))
        effect = Path(more[0]) / delivery.message.id
        try:
            effect.touch(exist_ok=False)
        except FileExistsError:
            print(json.dumps({"again": delivery.message.id}))
        delivery.ack()


main()
