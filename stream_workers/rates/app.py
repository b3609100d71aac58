"""The Faust application: an agent over `outcomes`, a timer that publishes to `rates`, and web views.

What may never break: nothing that lies in `outcomes` stops it, and it makes and changes no topic. What it
tells is approximate: it reads what is uncommitted too, and again what it had read when it was killed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import faust
from faust.types import TP
from faust.types.auth import CredentialsT
from faust.web import Request, Response, View

from messaging.names import Names
from messaging.partitioner import partition_for
from schemas.errors import ConfigError
from schemas.rates import JobRates
from schemas.settings import Settings
from stream_workers.rates.book import RateBook

PUBLISH_SECONDS = 2.0
_BATCH = 1000
_WITHIN_SECONDS = 0.5
_LOOPBACK = "127.0.0.1"
_SAY_EVERY_SECONDS = 30.0
_log = logging.getLogger("skyfill.rates")


class RatesApp:
    """Life: made in the event loop that is to run it, `app.start()`, `app.stop()`."""

    def __init__(
        self,
        settings: Settings,
        login: CredentialsT | None,
        port: int | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`login`: at the broker. `port`: of the web views, on loopback; None: without."""
        kafka, self._clock = settings.kafka, clock
        self._partitions = kafka.partitions.outcomes
        self._book = RateBook()
        self._said_at = 0.0
        names = Names(kafka.topic_prefix)
        folder = settings.data_dir.absolute() / "rates"
        folder.mkdir(parents=True, exist_ok=True)
        session = min(kafka.session_timeout_seconds, 60.0)  # Faust has its requests time out at 90
        self.app = faust.App(
            names.rates_group,
            broker=_brokers(kafka.bootstrap_servers),
            broker_credentials=login,
            broker_client_id=str(kafka.client.get("client.id", "skyfill-rates")),
            broker_session_timeout=session,
            broker_heartbeat_interval=session / 5,
            # Where the group has no place yet, and `rewind` was refused it one.
            consumer_auto_offset_reset="latest",
            topic_allow_declare=False,
            topic_disable_leader=True,
            topic_partitions=self._partitions,
            store="memory://",
            datadir=folder,
            web_enabled=port is not None,
            web_bind=_LOOPBACK,
            web_host=_LOOPBACK,
            web_port=port or 1,  # of no meaning without views, but Faust looks at it
            web_router_enabled=False,
            web_tables_enabled=False,
        )
        raw: dict[str, Any] = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw"}
        raw |= {"value_serializer": "raw", "partitions": self._partitions}
        self._topic = self.app.topic(names.rates, **raw)
        self.app.agent(self.app.topic(names.outcomes, **raw), name="rates", concurrency=1)(self._count)
        self.app.timer(interval=PUBLISH_SECONDS, name="publish")(self._publish)
        self.app.on_partitions_assigned.connect(self._assigned)
        if port is not None:
            self._add_views()

    async def _count(self, stream: Any) -> None:
        async for events in stream.take_events(_BATCH, within=_WITHIN_SECONDS):
            try:
                self._enter(events)
            except Exception:
                # An agent that fails is started anew and its batch acknowledged: the same, with more noise.
                _log.exception("a batch of outcomes could not be counted")

    def _enter(self, events: list[Any]) -> None:
        now, before = self._clock(), self._book.malformed
        for event in events:
            message = event.message
            key = (message.key or b"").decode("utf-8", "replace")
            at = now if message.timestamp is None else message.timestamp
            self._book.enter(message.partition, key, message.value, at, now)
        if self._book.malformed > before and now - self._said_at >= _SAY_EVERY_SECONDS:
            self._said_at = now
            _log.warning("skipped messages that are no outcomes: %d so far", self._book.malformed)

    async def _publish(self) -> None:
        try:
            for rates in self._book.due(self._clock()):
                partition = partition_for(rates.job_id, self._partitions)
                await self._topic.send(key=rates.job_id.encode(), value=rates.encode(), partition=partition)
        except Exception:
            _log.exception("rates could not be published; trying again in %.0f s", PUBLISH_SECONDS)

    async def _assigned(self, _app: Any, /, *assigned: set[TP], signal: Any = None, **_: Any) -> None:
        self._book.keep({at.partition for partitions in assigned for at in partitions})

    def _add_views(self) -> None:
        async def show_all(view: View, request: Request) -> Response:
            """The figures of every job."""
            return view.json([_shown(rates) for rates in self._book.all(self._clock())])

        async def show_one(view: View, request: Request, job_id: str) -> Response:
            """The figures of one job."""
            rates = self._book.of(job_id, self._clock())
            if rates is None:
                return view.error(404, f"nothing was heard of job {job_id} lately")
            return view.json(_shown(rates))

        self.app.page("/rates/", name="rates")(show_all)
        self.app.page("/rates/{job_id}/", name="rates-of-a-job")(show_one)


def _shown(rates: JobRates) -> dict[str, Any]:
    return rates.model_dump(mode="json", exclude_none=True)


def _brokers(bootstrap_servers: str | None) -> list[str]:
    if not bootstrap_servers:
        raise ConfigError("no Kafka broker is configured; set SKYFILL_KAFKA__BOOTSTRAP_SERVERS=host:port")
    return [f"kafka://{address.strip()}" for address in bootstrap_servers.split(",") if address.strip()]
