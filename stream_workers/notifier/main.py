"""The notifier as a process."""

from __future__ import annotations

import asyncio
import threading

from atp.http import Http
from messaging import clients
from messaging.crash import end_with
from messaging.exposition import expose
from messaging.metrics import new_registry
from messaging.topics import check_topics, topics
from schemas.settings import Settings
from stream_workers.notifier.book import NoticeBook
from stream_workers.notifier.metrics import NotifierMetrics
from stream_workers.notifier.notifier import Notifier, utc_now
from stream_workers.notifier.post import Post


def run_notifier(settings: Settings, stop: threading.Event) -> None:
    """Tells of jobs until `stop` is set. Ends the process itself, with a reason logged, if it can't go on."""
    registry = new_registry()
    try:
        check_topics(clients.admin(settings.kafka), topics(settings.kafka))
        with expose(settings, f"notifier-{settings.worker_slot or 0}", registry):
            asyncio.run(_run(settings, stop, NotifierMetrics(registry)))
    except Exception as error:
        end_with(error)


async def _run(settings: Settings, stop: threading.Event, metrics: NotifierMetrics) -> None:
    network = settings.network
    async with Http(user_agent=network.user_agent, allow_private_hosts=network.allow_private_hosts) as http:
        book = await asyncio.to_thread(NoticeBook, settings, now=utc_now)
        await Notifier(book, Post(http, now=utc_now), metrics).run(stop)
