"""ZeroMQ for the coroutines of programs that others write."""

from __future__ import annotations

from zmq.asyncio import Context


def coroutine_context() -> Context:
    """Return a context whose sockets are awaited; whoever asked for it ends it."""
    return Context()
