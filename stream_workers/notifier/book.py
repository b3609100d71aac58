"""What is pending of this notifier's jobs, found by comparing jobs as they stand with what was delivered.

What may never break: a notice is pending until its delivery is written, so that a kill at any point costs at
most that it is told again, under the same id.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from messaging import clients
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.sending import Outgoing, send_all
from messaging.views import CompactedView
from schemas.job_specs import JobSpec
from schemas.job_status import JobStatus
from schemas.settings import Settings
from schemas.webhooks import Delivery
from stream_workers.notifier.notices import Target, is_news, notices, still_true, target_of
from stream_workers.notifier.share import Share

KEPT_FOR = timedelta(days=30)
"""How long a delivery that has ended is remembered."""
_POLL_SECONDS = 0.2
_SWEEP_SECONDS = 600.0


class NoticeBook:
    """Life: made (connects), `open`, `look` again and again, `close`. For one thread at a time."""

    def __init__(self, settings: Settings, *, now: Callable[[], datetime]) -> None:
        kafka, names = settings.kafka, Names(settings.kafka.topic_prefix)
        self._alerts, self._now = settings.alerts, now
        self._topic, self._partitions = names.webhooks, kafka.partitions.outcomes
        self._statuses = CompactedView(kafka, names.job_status, JobStatus.decode)
        self._specs = CompactedView(kafka, names.job_specs, JobSpec.decode)
        self._deliveries = CompactedView(kafka, names.webhooks, Delivery.decode)
        self._share = Share(kafka, names.notifier_group, names.job_status)
        self._producer = clients.producer(kafka)
        self._mine: frozenset[int] = frozenset()
        self._written: dict[str, Delivery] = {}
        """By this process, and not read back yet."""
        self._sweep_at = 0.0
        self.pending: dict[str, Delivery] = {}
        """Those still to be delivered, by id. Changes in `look` alone."""

    def open(self) -> None:
        """Reads everything to its end. Raises DeploymentError where that can't be done."""
        for view in (self._statuses, self._specs, self._deliveries):
            view.catch_up()

    def look(self, done: Sequence[Delivery]) -> None:
        """Writes what has become of deliveries, then looks what is to be told. Raises DeploymentError."""
        self._write((delivery.id, delivery.job_id, delivery.encode()) for delivery in done)
        for delivery in done:
            self._written[delivery.id] = delivery
            self._note(delivery)
        self._share.poll(_POLL_SECONDS)
        changed = self._statuses.poll()
        self._specs.poll()
        for notice in self._deliveries.poll():
            if self._written.get(notice) == self._deliveries.items.get(notice):
                self._written.pop(notice, None)
        if self._share.partitions != self._mine:
            changed = self._take_over()
        for job_id in changed:
            if self._is_mine(job_id):
                self._find(job_id)
        if time.monotonic() >= self._sweep_at:
            self._sweep()

    def target(self, delivery: Delivery) -> Target | None:
        """Who a pending delivery is for; None where that is nobody any more."""
        spec = self._specs.items.get(delivery.job_id)
        if spec is None or not still_true(delivery, self._statuses.items.get(delivery.job_id)):
            return None
        if delivery.attempts == 0 and not is_news(delivery, self._now()):
            return None
        return target_of(delivery, spec.backfill, self._alerts)

    def close(self, done: Sequence[Delivery]) -> None:
        """Writes the last deliveries and leaves."""
        self._write((delivery.id, delivery.job_id, delivery.encode()) for delivery in done)
        self._share.close()
        for view in (self._statuses, self._specs, self._deliveries):
            view.close()

    def _is_mine(self, job_id: str) -> bool:
        return partition_for(job_id, self._partitions) in self._mine

    def _take_over(self) -> set[str]:
        """Everything that is this notifier's from now on, after a look at what others have delivered."""
        self._mine = self._share.partitions
        self._deliveries.catch_up()
        self._specs.catch_up()
        self.pending = {}
        for delivery in [*self._deliveries.items.values(), *self._written.values()]:
            if self._is_mine(delivery.job_id):
                self._note(delivery)
        return set(self._statuses.items)

    def _note(self, delivery: Delivery) -> None:
        if delivery.next_at is not None and self._is_mine(delivery.job_id):
            self.pending[delivery.id] = delivery
        else:
            self.pending.pop(delivery.id, None)

    def _find(self, job_id: str) -> None:
        status = self._statuses.items.get(job_id)
        if status is None:
            return
        if job_id not in self._specs.items:
            self._specs.catch_up()  # a spec comes before its job's status; a job that was refused has none
        spec, now = self._specs.items.get(job_id), self._now()
        for delivery, _ in notices(status, spec.backfill, self._alerts, now) if spec else ():
            known = delivery.id in self._written or delivery.id in self._deliveries.items
            if not known and is_news(delivery, now):
                self.pending.setdefault(delivery.id, delivery)

    def _sweep(self) -> None:
        """Forgets deliveries that ended long ago. Their events are no news, so they do not come again."""
        self._sweep_at = time.monotonic() + _SWEEP_SECONDS
        oldest = self._now() - KEPT_FOR
        gone = [
            delivery
            for delivery in self._deliveries.items.values()
            if delivery.updated_at < oldest and self._is_mine(delivery.job_id)
        ]
        self._write((delivery.id, delivery.job_id, None) for delivery in gone)

    def _write(self, messages: Iterable[tuple[str, str, bytes | None]]) -> None:
        """By id and job; returns once the broker has all."""
        outgoing = (
            Outgoing(key, value, partition_for(job_id, self._partitions)) for key, job_id, value in messages
        )
        send_all(self._producer, self._topic, outgoing)
