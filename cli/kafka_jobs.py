"""Jobs straight through Kafka: commands go to the topic `jobs`, answers come from what others told there."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from cli.backend import Action, ChosenJobs, JobLine, Standing, Wanted, unknown
from messaging.control import HostCountsBoard, StatusBoard, send_command
from messaging.names import Names
from messaging.rates_board import RatesBoard
from messaging.views import CompactedView
from schemas.backfill import Backfill
from schemas.configs import StoredConfig
from schemas.document import parse_document
from schemas.errors import ConfigError
from schemas.estimate import Estimate
from schemas.explain import explain
from schemas.job_status import JobStatus
from schemas.jobs import JobMessage, is_job_id
from schemas.report import CompletenessReport, completeness
from schemas.settings import Settings

_PLAN_SECONDS = 10.0


class KafkaJobs:
    """See cli.backend.Jobs. What is not asked for is not read."""

    def __init__(self, settings: Settings) -> None:
        """`settings` have the address of a broker that answers."""
        self._settings, self._kafka = settings, settings.kafka
        self._status_board: StatusBoard | None = None
        self._rates_board: RatesBoard | None = None
        self._hosts_board: HostCountsBoard | None = None

    def start(self, wanted: Wanted, job_id: str | None) -> str:
        """See Jobs. Relative paths are taken from this folder; a stored config makes a new job each time."""
        from local.one_shot import job_id_of

        backfill = self._document(wanted).absolute(Path.cwd())
        made = f"{backfill.name}-{secrets.token_hex(5)}" if wanted.config else job_id_of(backfill)
        chosen = job_id or made
        if not is_job_id(chosen):
            raise ConfigError(
                f"{chosen!r} can't name a job: letters, digits, `.`, `_` and `-`, the first a letter or digit"
            )
        document = backfill.model_dump(mode="json")
        send_command(self._kafka, chosen, JobMessage(action="start", backfill=document))
        return chosen

    def plan(self, wanted: Wanted) -> Estimate:
        """See Jobs."""
        from producers.estimate import estimate

        backfill = self._document(wanted).absolute(Path.cwd())
        return asyncio.run(estimate(self._settings, backfill, deadline_seconds=_PLAN_SECONDS))

    def turn(self, job_id: str, action: Action, *, force: bool = False) -> None:
        """See Jobs."""
        known = self._known(job_id)
        draining = known.status == "cancelled" and known.outstanding > 0
        if known.final and not (force and draining):
            raise ConfigError(f"job {job_id} has ended ({known.status}); there is nothing to {action}")
        send_command(self._kafka, job_id, JobMessage(action=action, force=force))

    def standing(self, job_id: str, *, detailed: bool = False) -> Standing | None:
        """See Jobs."""
        self._statuses.refresh()
        status = self._statuses.of(job_id)
        if status is None:
            return None
        if not detailed:
            return Standing(status, explain(status))
        self._rates.refresh()
        self._hosts.refresh()
        return Standing(status, explain(status), self._rates.of(job_id), self._hosts.of(job_id))

    def wait(self, seconds: float) -> None:
        """See Jobs."""
        self._statuses.refresh(seconds)

    def lines(self, chosen: ChosenJobs) -> list[JobLine]:
        """See Jobs."""
        self._statuses.refresh()
        return [_line(job) for job in self._statuses.all() if _is_chosen(job, chosen)]

    def report(self, job_id: str) -> CompletenessReport:
        """See Jobs."""
        status = self._known(job_id)
        self._hosts.refresh()
        return completeness(status, self._hosts.of(job_id))

    def close(self) -> None:
        """See Jobs."""
        for board in (self._status_board, self._rates_board, self._hosts_board):
            if board is not None:
                board.close()

    def _document(self, wanted: Wanted) -> Backfill:
        if wanted.backfill is not None:
            return wanted.backfill
        from api.documents import merged  # it brings the whole framework along

        topic = Names(self._kafka.topic_prefix).configs
        view = CompactedView(self._kafka, topic, StoredConfig.decode)
        try:
            view.catch_up()
            stored = view.items.get(wanted.config or "")
        finally:
            view.close()
        if stored is None:
            raise ConfigError(f"there is no stored config {wanted.config}; `skyfill configs list` lists them")
        return parse_document(merged(stored.backfill.model_dump(mode="json"), wanted.overrides))

    def _known(self, job_id: str) -> JobStatus:
        status = self._statuses.of(job_id)
        if status is None:
            raise unknown(job_id)
        return status

    @property
    def _statuses(self) -> StatusBoard:
        if self._status_board is None:
            self._status_board = StatusBoard(self._kafka)
        return self._status_board

    @property
    def _rates(self) -> RatesBoard:
        if self._rates_board is None:
            self._rates_board = RatesBoard(self._kafka)
        return self._rates_board

    @property
    def _hosts(self) -> HostCountsBoard:
        if self._hosts_board is None:
            self._hosts_board = HostCountsBoard(self._kafka)
        return self._hosts_board


def _is_chosen(job: JobStatus, chosen: ChosenJobs) -> bool:
    if chosen.statuses and job.status not in chosen.statuses:
        return False
    if chosen.name is not None and chosen.name not in job.job_id and chosen.name not in (job.name or ""):
        return False
    return chosen.since is None or (job.submitted_at or job.updated_at) >= chosen.since


def _line(job: JobStatus) -> JobLine:
    totals = job.totals
    return JobLine(
        job_id=job.job_id,
        name=job.name,
        status=job.status,
        total=job.total,
        plan_finished=job.plan_finished,
        completed=totals.completed,
        skipped=totals.skipped,
        unavailable=totals.unavailable,
        failed=totals.failed,
        cancelled=totals.cancelled,
        retrying=totals.retrying,
        records=totals.records,
        bytes=totals.bytes,
        submitted_at=job.submitted_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        stale_since=job.stale_since,
    )
