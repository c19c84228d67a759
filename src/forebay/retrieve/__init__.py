"""A pulse range as a source: the recent past from rings, then the present, without a gap or a double.

::

    stream = Stream("camera", pasts=(memory, disk), live=lambda: memory.reader("newest"))
    with closing(Retrieval(stream, PulseRange(1000, 2000), deadline_s=30)) as source:
        pump(source, [sink], stop)
    source.report          # expected, got, missing
"""

from forebay.retrieve.asked import Asked, Report
from forebay.retrieve.merge import Merged
from forebay.retrieve.past import Past, Stream
from forebay.retrieve.source import Retrieval

__all__ = ["Asked", "Merged", "Past", "Report", "Retrieval", "Stream"]
