"""The REST interface of the online monitor: what it shows, on loopback; it commands nothing."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import FastAPI, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from forebay.errors import ForebayError


class Shown(Protocol):
    """What the interface shows."""

    def shown(self) -> dict[str, Any]:
        """Return what the original posts to its web server."""
        ...

    def status(self) -> dict[str, Any]:
        """Return state and run."""
        ...

    def rates(self) -> dict[str, Any]:
        """Return rates in Hz."""
        ...

    def histograms(self) -> dict[str, Any]:
        """Return counts of ADC values and of FIFO flags."""
        ...

    def counters(self) -> dict[str, float]:
        """Return numbers for Prometheus."""
        ...

    def retrieve_pixel_layout(self) -> dict[str, Any]:
        """Return the layout that is loaded; `ForebayError` if none is."""
        ...

    def picture(self) -> bytes:
        """Return the map of pixels as PNG."""
        ...


def monitor_app(monitor: Shown) -> FastAPI:
    """Return the application; paths of the original with and without ``/api``, of both its generations."""
    app = FastAPI(title="larpix-daq online monitor", docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "testserver"])

    for base in ("", "/api"):
        app.get(f"{base}/packets")(monitor.shown)
        app.get(f"{base}/state")(monitor.status)
        app.get(f"{base}/rates")(monitor.rates)
        app.get(f"{base}/histograms")(monitor.histograms)

    @app.get("/pixels")
    @app.get("/api/pixels")
    def get_pixels() -> dict[str, Any]:
        """Return layout and lookup, or nothing while no layout is loaded."""
        try:
            return monitor.retrieve_pixel_layout()
        except ForebayError as error:
            return {"layout": None, "lookup": {}, "reason": str(error)}

    @app.get("/pixels.png")
    def get_picture() -> Response:
        """Return the map of pixels."""
        return Response(monitor.picture(), media_type="image/png", headers={"Cache-Control": "no-store"})

    @app.get("/metrics")
    def get_metrics() -> Response:
        """Return numbers for Prometheus."""
        lines = [f"forebay_larpix_{name} {value}" for name, value in monitor.counters().items()]
        return Response("\n".join([*lines, ""]), media_type="text/plain; version=0.0.4")

    return app
