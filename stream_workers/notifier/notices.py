"""What is to be told of a job as it stands, and to whom, as plain functions.

A notice has the same id whoever computes it and however often: it is made of what happened, when and to
whom it is told. So nothing has to be remembered of notices that are not sent yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from schemas.backfill import Backfill
from schemas.explain import explain
from schemas.job_status import JobStatus
from schemas.secrets import reveal
from schemas.settings import AlertSettings
from schemas.webhooks import Delivery, NoticeData, NoticeEvent, NoticeTotals, shown_url

LOG = "log"
"""In place of a URL: the notifier's own log."""
NEWS_FOR = timedelta(days=1)
"""What happened longer ago, and was never tried, is not told any more."""


@dataclass(frozen=True)
class Target:
    """Who is told. `secret` gives what signs; ConfigError where it can't be had."""

    url: str
    key: str
    """Tells targets of one job apart. Never a secret itself."""
    secret: Callable[[], str] | None = None
    trusted: bool = False
    """It is from the settings, so it may lead to a private address."""

    @property
    def shown(self) -> str:
        """The URL as it may be shown."""
        return LOG if self.url == LOG else shown_url(self.url)


def event_of(status: JobStatus) -> tuple[NoticeEvent, datetime] | None:
    """What there is to tell of a job, and since when; None while it goes its way."""
    if status.final:
        if status.finished_at is None:
            return None
        event: NoticeEvent = status.status  # type: ignore[assignment]
        return event, status.finished_at
    return None if status.stale_since is None else ("stale", status.stale_since)


def targets(backfill: Backfill, event: NoticeEvent, alerts: AlertSettings) -> Iterator[Target]:
    """Everybody who wants to be told of such an event of this job."""
    for hook in backfill.monitoring.webhooks:
        if event in hook.events:
            yield Target(hook.url, f"{hook.url} {hook.secret}", partial(reveal, hook.secret))
    if event != "complete" and backfill.monitoring.alert_on_failure:
        yield Target(LOG, LOG)
        if alerts.webhook_url is not None:
            secret = alerts.webhook_secret.get_secret_value if alerts.webhook_secret else None
            yield Target(alerts.webhook_url, f"alerts {alerts.webhook_url}", secret, trusted=True)


def notice_id(job_id: str, event: NoticeEvent, occurred_at: datetime, target: Target) -> str:
    """Of a notice to one target. Without full stops, which separate an id from what else is signed."""
    said = "\n".join((job_id, event, str(round(occurred_at.timestamp() * 1000)), target.key))
    return f"msg_{hashlib.sha256(said.encode()).hexdigest()[:32]}"


def notices(
    status: JobStatus, backfill: Backfill, alerts: AlertSettings, now: datetime
) -> Iterator[tuple[Delivery, Target]]:
    """All that is to be told of a job as it stands, as deliveries that nobody has tried yet."""
    if (found := event_of(status)) is None:
        return
    event, occurred_at = found
    for target in targets(backfill, event, alerts):
        delivery = Delivery(
            id=notice_id(status.job_id, event, occurred_at, target),
            job_id=status.job_id,
            event=event,
            url=target.shown,
            occurred_at=occurred_at,
            data=_data(status, alerts),
            next_at=now,
            updated_at=now,
        )
        yield delivery, target


def target_of(delivery: Delivery, backfill: Backfill, alerts: AlertSettings) -> Target | None:
    """Who a delivery is for; None where nobody wants it any more: the settings have changed."""
    for target in targets(backfill, delivery.event, alerts):
        if notice_id(delivery.job_id, delivery.event, delivery.occurred_at, target) == delivery.id:
            return target
    return None


def is_news(delivery: Delivery, now: datetime) -> bool:
    """Whether something that was never tried is still worth telling."""
    return delivery.occurred_at > now - NEWS_FOR


def still_true(delivery: Delivery, status: JobStatus | None) -> bool:
    """Whether it may be told yet: an end is history, but a job that goes on is stale no longer."""
    if delivery.event != "stale":
        return True
    return status is not None and event_of(status) == ("stale", delivery.occurred_at)


def _data(status: JobStatus, alerts: AlertSettings) -> NoticeData:
    totals = status.totals
    return NoticeData(
        job_id=status.job_id,
        name=status.name,
        status=status.status,
        explanation=explain(status),
        totals=NoticeTotals(
            accounts=status.total,
            completed=totals.completed,
            skipped=totals.skipped,
            unavailable=totals.unavailable,
            failed=totals.failed,
            cancelled=totals.cancelled,
            records=totals.records,
            bytes=totals.bytes,
        ),
        url=alerts.job_page and alerts.job_page.replace("{job_id}", status.job_id),
    )
