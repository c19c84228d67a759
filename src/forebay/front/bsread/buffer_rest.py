"""The REST interface of ``sf_bsread_buffer``: how it stands and what it counted."""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI

from forebay.front.bsread.local import local_app


class BsreadBuffer(Protocol):
    """What the interface shows."""

    @property
    def statistics(self) -> dict[str, object]:
        """What came, what is kept, who reads, and what each of them lost."""
        ...


def buffer_app(buffer: BsreadBuffer) -> FastAPI:
    """Return the application that shows `buffer`; it commands nothing."""
    app = local_app("sf_bsread_buffer")

    @app.get("/status")
    def get_status() -> dict[str, object]:
        """Say that the buffer runs."""
        return {"state": "ok", "status": "buffering"}

    @app.get("/statistics")
    def get_statistics() -> dict[str, object]:
        """Return what was counted, each consumer's account among it."""
        return {"state": "ok", "status": "buffering", "statistics": buffer.statistics}

    return app
