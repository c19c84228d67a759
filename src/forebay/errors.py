"""The one error tree: each error says what was asked, what was found and what to do."""


class ForebayError(Exception):
    """Anything that forebay refuses or cannot do.

    Parameters
    ----------
    what:
        What was asked and what was found, one sentence that names the key and the value.
    todo:
        What the person can do about it; empty where there is nothing to do.
    """

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(what, todo)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.what} {self.todo}".strip()


class WireError(ForebayError):
    """Bytes that are not what their format says; the data path counts and skips them."""


class ConfigError(ForebayError):
    """A configuration, an option or a request that cannot be carried out as it stands."""


class RangeError(ConfigError):
    """A pulse range that is empty, reversed or not written as ``A..B``."""


class RingError(ForebayError):
    """A ring that is not there, belongs to somebody else or has another shape."""


class NotYetError(RingError):
    """The pulse asked for is newer than everything that the ring holds."""


class OverwrittenError(RingError):
    """The pulse asked for has left the ring, or left it while it was being read."""


class AbsentError(RingError):
    """A pulse inside the ring's span for which nothing came."""


class StreamError(ForebayError):
    """A network endpoint that cannot be opened or a peer that does not keep the protocol."""


class StoreError(ForebayError):
    """A file that cannot be written, read, completed or trusted."""


class ServiceError(ForebayError):
    """A process that cannot start, stopped by itself or did not answer in time."""


class BusError(ForebayError):
    """The bus cannot be reached, or does not keep its promises."""


class NoWorkerError(BusError):
    """Nobody takes requests or calls of this key."""


class NoAnswerError(BusError):
    """No answer came in time."""


class CatalogError(ForebayError):
    """The catalogue cannot be reached, or does not hold what was asked for."""


class UnknownError(CatalogError):
    """The catalogue can be reached, and what was asked for is not in it."""


class StateError(ForebayError):
    """A command that is not allowed in the present state; the message says which are."""


class AccessError(ForebayError):
    """Somebody asked for what they may not do."""


class TokenError(AccessError):
    """A request without a token, or with one that is unknown or has expired."""
