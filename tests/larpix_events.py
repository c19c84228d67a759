"""Blocks of PACMAN messages for tests: random words with the right parity, sync words, triggers."""

import numpy as np

from forebay.event import Event
from forebay.wire import pacman
from forebay.wire.larpix import word
from forebay.wire.pacman_batch import PacmanArrays

SECOND = 1_700_000_000
NO_MODULES = np.zeros(0, np.uint32)


def random_words(random, n, word_format=word.V2):
    """Return data words with the right parity."""
    fields = {name: word_format.fields[name] for name in ("chip_id", "channel_id", "timestamp", "dataword")}
    columns = {name: random.integers(0, 2**n_bits, n) for name, (_, n_bits) in fields.items()}
    return word.encode(columns | {"packet_type": word_format.data_type}, word_format)


def message(random, n_words, second=SECOND, word_format=word.V2, specials=()):
    """Return a data message of `n_words` random words, behind those given."""
    words = random_words(random, n_words, word_format)
    records = pacman.data_words(random.integers(1, 33, n_words), random.integers(0, 2**24, n_words), words)
    return pacman.encode(pacman.DATA_MESSAGE, second, np.concatenate([*specials, records]))


def block(messages, number=0, source="board1", io_group=1, asic_version="2"):
    """Return the event of these messages."""
    lengths = np.array(list(map(len, messages)), np.uint32)
    arrays = PacmanArrays(b"".join(messages), lengths, io_group, asic_version)
    return Event(source, number, SECOND * 10**9 + number, arrays, NO_MODULES)


def blocks(n_blocks, n_messages=7, n_words=10, seed=1, **about):
    """Return blocks of one board with a sync a second."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(n_blocks):
        second = SECOND + number
        syncs = [pacman.sync_word(b"S", 10_000_000), pacman.trigger_word(2, 123_456)]
        messages = [message(random, n_words, second, specials=syncs)]
        messages += [message(random, n_words, second) for _ in range(n_messages - 1)]
        made.append(block(messages, number, **about))
    return made
