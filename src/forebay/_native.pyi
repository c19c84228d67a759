"""The native kernel: what exists for speed."""



class Slots:
    """A shared ring, mapped. See `forebay.ring.slots` for what lies where.

    All pointers stay valid while this object or an array that it lent lives.
    """

    def __init__(self, fd: int, writable: bool) -> None: ...
