"""The dashboard's parts in one API process: templates, files, and the pace of jobs for charts."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress

from confluent_kafka import KafkaException
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.assets import Assets
from api.dashboard.client import Refused
from api.dashboard.lag_trail import LagTrail
from api.dashboard.render import Renderer
from local.java import JarCache
from messaging.rates_history import RatePoint, RatesHistory
from schemas.errors import SkyfillError
from schemas.settings import KafkaSettings

_POLL_SECONDS = 0.5
_AGAIN_SECONDS = 10.0
_log = logging.getLogger("skyfill.api")


class Dashboard:
    """Life: made, `start` in the event loop, `stop`. The API's own answers need nothing of it."""

    def __init__(self, kafka: KafkaSettings, jars: JarCache | None = None) -> None:
        """`jars`: where the chart library is, or goes to."""
        self._kafka = kafka
        self.assets = Assets(jars)
        self.renderer = Renderer(self.assets)
        self.trail = LagTrail()
        self._history: RatesHistory | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="rates-history", daemon=True)

    async def start(self) -> None:
        """Begins to read and to load; waits for neither."""
        self._thread.start()
        self._loading = asyncio.create_task(self.assets.load_charts())

    async def stop(self) -> None:
        """Ends both."""
        self._stop.set()
        self._loading.cancel()
        with suppress(asyncio.CancelledError):
            await self._loading
        await asyncio.to_thread(self._thread.join)

    def pace(self, job_id: str, since: float | None = None) -> list[RatePoint]:
        """A job's pace over the last day, later than `since` (seconds since 1970), oldest first."""
        history = self._history
        return [] if history is None else history.of(job_id, since)

    def problem(self, request: Request, refused: Refused) -> Response:
        """The page that says why something could not be done."""
        return self.renderer.page(
            request,
            "problem.html",
            getattr(request.state, "who", None),
            status=refused.status,
            title=refused.title.capitalize(),
            detail=refused.detail,
            errors=refused.errors,
            back=request.url.path.rpartition("/")[0] or "/" if request.method == "POST" else "/",
        )

    def _read(self) -> None:
        """The thread. Charts are for looking at: whatever fails, it is tried again and nothing ends."""
        while not self._stop.is_set():
            try:
                history = self._history = RatesHistory(self._kafka)
                try:
                    while not self._stop.is_set():
                        history.refresh(_POLL_SECONDS)
                finally:
                    history.close()
            except (SkyfillError, KafkaException, KeyError) as error:
                _log.warning("the pace of jobs can't be read for charts: %s", error)
                self._stop.wait(_AGAIN_SECONDS)


def dashboard_of(request: Request) -> Dashboard:
    """The process's dashboard."""
    found: Dashboard = request.app.state.dashboard
    return found
