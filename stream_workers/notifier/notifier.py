"""The notifier: tells of jobs that ended or stand still, each notice until it was heard or a day is over.

A receiver that does not answer holds up nobody else: each URL is told one thing at a time, many at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from schemas.webhooks import Delivery
from stream_workers.notifier.book import NoticeBook
from stream_workers.notifier.metrics import NotifierMetrics
from stream_workers.notifier.notices import LOG, Target
from stream_workers.notifier.post import Attempt, Post, after

_AT_ONCE = 32
_LEAVE_SECONDS = 2.0
_log = logging.getLogger("skyfill.notifier")


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


class Notifier:
    """Life: made, `run` until `stop` is set, in one event loop."""

    def __init__(
        self,
        book: NoticeBook,
        post: Post,
        metrics: NotifierMetrics,
        *,
        now: Callable[[], datetime] = utc_now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._book, self._post, self._metrics = book, post, metrics
        self._now, self._chance = now, chance
        self._done: list[Delivery] = []
        """Attempts that ended and are not written yet."""
        self._busy: set[str] = set()
        """URLs that are being told something."""
        self._under_way: set[str] = set()
        """Ids of deliveries that are attempted, or whose attempt is not written yet."""
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.watch(lambda: len(book.pending), self._oldest)

    async def run(self, stop: threading.Event) -> None:
        """Tells until `stop`. Raises DeploymentError where Kafka fails."""
        try:
            await asyncio.to_thread(self._book.open)
            while not stop.is_set():
                await self._look()
                self._begin_due()
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_LEAVE_SECONDS)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.to_thread(self._book.close, self._done)

    async def _look(self) -> None:
        done, self._done = self._done, []
        await asyncio.to_thread(self._book.look, done)
        self._under_way -= {delivery.id for delivery in done}

    def _begin_due(self) -> None:
        now = self._now()
        due = [d for d in self._book.pending.values() if d.next_at is not None and d.next_at <= now]
        for delivery in sorted(due, key=lambda d: (d.next_at, d.occurred_at, d.id)):
            if delivery.id in self._under_way:
                continue
            target = self._book.target(delivery)
            if target is None:
                self._drop(delivery)
            elif target.url == LOG:
                _log.error("ALERT job %s: %s", delivery.job_id, delivery.data.explanation)
                self._end(delivery, Attempt("delivered"))
            elif target.url not in self._busy and len(self._busy) < _AT_ONCE:
                self._busy.add(target.url)
                self._under_way.add(delivery.id)
                task = asyncio.create_task(self._tell(delivery, target))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _tell(self, delivery: Delivery, target: Target) -> None:
        try:
            self._end(delivery, await self._post.attempt(delivery, target))
        except Exception:
            _log.exception("an attempt to tell %s of job %s failed", target.shown, delivery.job_id)
            self._end(delivery, Attempt("failed", "an unexpected error; the notifier's log has it"))
        finally:
            self._busy.discard(target.url)

    def _end(self, delivery: Delivery, attempt: Attempt) -> None:
        now = self._now()
        ended = after(delivery, attempt, now, self._chance())
        told = f"{delivery.url} of job {delivery.job_id} ({delivery.event})"
        if ended.delivered_at is not None:
            self._metrics.ended("delivered")
            if delivery.url != LOG:
                _log.info("told %s", told)
        elif ended.next_at is not None:
            self._metrics.ended("failed")
            seconds = (ended.next_at - now).total_seconds()
            _log.warning("could not tell %s: %s; once more in %.0f s", told, ended.detail, seconds)
        else:
            self._metrics.ended("given_up")
            _log.error("could not tell %s: %s; given up", told, ended.detail)
        self._write(ended)

    def _drop(self, delivery: Delivery) -> None:
        """The job goes on, the settings have changed, or it is no news any more."""
        self._metrics.ended("given_up")
        _log.warning("%s is not told of job %s (%s) any more", delivery.url, delivery.job_id, delivery.event)
        detail = "it is not true or not wanted any more, or too old"
        self._write(
            delivery.model_copy(update={"next_at": None, "detail": detail, "updated_at": self._now()})
        )

    def _write(self, ended: Delivery) -> None:
        self._under_way.add(ended.id)
        self._done.append(ended)

    def _oldest(self) -> float | None:
        since = min((delivery.occurred_at for delivery in self._book.pending.copy().values()), default=None)
        return None if since is None else max(0.0, (self._now() - since).total_seconds())
