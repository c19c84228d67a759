"""Live images for the dashboard: from a real live stream, small, 8 bits a pixel."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from forebay.config import LiveConfig, parse
from forebay.errors import ConfigError, StreamError
from forebay.event import Event
from forebay.service import pictures as pictures_module
from forebay.service.pictures import MOST_PIXELS, Pictures, small
from forebay.stream.live import LivePublisher
from forebay.wire.array10 import LiveImage

pytestmark = pytest.mark.flow


@given(
    st_numpy.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.uint64, np.float32, np.float64]),
        st.tuples(st.integers(0, 40), st.integers(0, 40)),
    )
)
def test_any_image_becomes_a_picture(data):
    picture = small(LiveImage(7, data))
    assert picture.shape == data.shape
    assert len(picture.pixels) == data.size
    assert picture.low <= picture.high


def test_a_large_image_is_binned_and_scaled():
    data = np.zeros((1024, 2 * MOST_PIXELS), np.uint16)
    data[:, 512:] = 1000
    picture = small(LiveImage(7, data))
    assert picture.shape == (512, 512)
    assert (picture.low, picture.high) == (0, 1000)
    pixels = np.frombuffer(picture.pixels, np.uint8).reshape(picture.shape)
    assert (pixels[:, :256] == 0).all()
    assert (pixels[:, 256:] == 255).all()


def test_the_newest_image_of_a_stream(monkeypatch):
    publisher = LivePublisher(LiveConfig(endpoint="tcp://127.0.0.1:*", rate_hz=1000))
    detector = {"type": "jungfrau", "live": {"endpoint": publisher.endpoint}}
    plain = {"type": "eiger", "start_udp_port": 1}
    pictures = Pictures(parse({"detectors": {"jf": detector, "plain": plain}}, "test"))
    over = threading.Event()

    def publish():
        pulse_id = 0
        while not over.wait(0.005):
            pulse_id += 1
            data = {"data": np.full((4, 8), pulse_id, np.uint16)}
            publisher.write([Event("jf", pulse_id, 1, data, np.zeros(1, np.uint32))])

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        first = pictures.picture("jf")
        assert first.shape == (4, 8)
        assert first.low == first.frame
        later = first
        for _ in range(1000):
            if later.frame > first.frame:
                break
            over.wait(0.005)
            later = pictures.picture("jf")
        assert later.frame > first.frame
        monkeypatch.setattr(pictures_module, "_KEEP_S", -1.0)
        assert pictures.picture("jf").frame >= later.frame  # listens anew
    finally:
        over.set()
        thread.join()
        publisher.close()
    with pytest.raises(ConfigError, match="has no live stream"):
        pictures.picture("plain")
    with pytest.raises(ConfigError, match="not configured"):
        pictures.picture("nobody")
    pictures.close()
    pictures.close()


def test_nothing_comes(monkeypatch):
    monkeypatch.setattr(pictures_module, "_FIRST_S", 0.01)
    detector = {"type": "jungfrau", "live": {"endpoint": "tcp://127.0.0.1:9"}}
    pictures = Pictures(parse({"detectors": {"jf": detector}}, "test"))
    for _ in range(2):
        with pytest.raises(StreamError, match="Is the detector sending"):
            pictures.picture("jf")
    pictures.close()
