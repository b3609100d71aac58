"""Jobs through the API, in the same shapes as straight through Kafka."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from cli.api_client import ApiClient, NotFound
from cli.backend import Action, ChosenJobs, JobLine, Standing, Wanted, unknown
from schemas.errors import ConfigError
from schemas.estimate import Estimate
from schemas.job_status import Counts, ErrorSample, ErrorSummary, JobHost, JobStatus
from schemas.jobs import is_job_id
from schemas.rates import JobRates
from schemas.report import CompletenessReport

_ROOT = "/api/backfill"
_WATCH_SECONDS = 2.0
_HOSTS_SECONDS = 10.0
"""How old the counts by host may be that are shown."""


class ApiJobs:
    """See cli.backend.Jobs."""

    def __init__(self, url: str, token: str | None) -> None:
        """ConfigError for what is no URL, or without a token."""
        self._client = ApiClient(url, token)
        self._hosts: dict[str, JobHost] = {}
        self._hosts_at: float | None = None

    def start(self, wanted: Wanted, job_id: str | None) -> str:
        """See Jobs. Relative paths are taken from the API's folder."""
        from local.one_shot import job_id_of

        if job_id is None and wanted.backfill is not None:
            job_id = job_id_of(wanted.backfill)  # so that the same document again is the same job here, too
        params = {} if job_id is None else {"job_id": job_id}
        said = self._client.ask("POST", f"{_ROOT}/start", params=params, json=_body(wanted))
        return str(said["job_id"])

    def plan(self, wanted: Wanted) -> Estimate:
        """See Jobs."""
        said = self._client.ask("POST", f"{_ROOT}/plan", json=_body(wanted))
        try:
            return Estimate.model_validate(said)
        except ValidationError as error:
            raise self._client.unfit(error) from error

    def turn(self, job_id: str, action: Action, *, force: bool = False) -> None:
        """See Jobs."""
        if action == "cancel":
            params = {"force": "true"} if force else {}
            self._of_job("DELETE", job_id, "", params=params)
        else:
            self._of_job("POST", job_id, f"/{action}")

    def retry(self, job_id: str) -> tuple[int, dict[str, int]]:
        """Asks to replay all dead letters of a job that were not yet: how many, and those left out by
        reason."""
        said = self._of_job("POST", job_id, "/retry")
        return int(said["letters"]), dict(said.get("left_out") or {})

    def standing(self, job_id: str, *, detailed: bool = False) -> Standing | None:
        """See Jobs."""
        said = self._client.find(f"{_ROOT}/status/{_part(job_id)}")
        if said is None:
            return None
        try:
            status, rates = _status(said), _rates(said)
            hosts = self._all_hosts(job_id) if detailed else {}
        except (ValidationError, KeyError, TypeError) as error:
            raise self._client.unfit(error) from error
        return Standing(status, str(said.get("explanation", "")), rates, hosts)

    def wait(self, seconds: float) -> None:
        """See Jobs. Seldom enough for the API's limits."""
        time.sleep(max(seconds, _WATCH_SECONDS))

    def lines(self, chosen: ChosenJobs) -> list[JobLine]:
        """See Jobs."""
        params: dict[str, Any] = {"status": sorted(chosen.statuses)} if chosen.statuses else {}
        if chosen.name is not None:
            params["name"] = chosen.name
        if chosen.since is not None:
            params["since"] = chosen.since.isoformat()
        try:
            found = [
                JobLine.model_validate({key: one.get(key) for key in JobLine.model_fields})
                for one in self._client.pages(f"{_ROOT}/jobs", "jobs", params)
            ]
        except (ValidationError, KeyError, TypeError, AttributeError) as error:
            raise self._client.unfit(error) from error
        return found[::-1]

    def report(self, job_id: str) -> CompletenessReport:
        """See Jobs."""
        said = self._of_job("GET", job_id, "/report")
        try:
            return CompletenessReport.model_validate(said)
        except ValidationError as error:
            raise self._client.unfit(error) from error

    def close(self) -> None:
        """See Jobs."""
        self._client.close()

    def _of_job(self, method: str, job_id: str, path: str, **more: Any) -> Any:
        try:
            return self._client.ask(method, f"{_ROOT}/jobs/{_part(job_id)}{path}", **more)
        except NotFound as error:
            raise unknown(job_id) from error

    def _all_hosts(self, job_id: str) -> dict[str, JobHost]:
        now = time.monotonic()
        if self._hosts_at is None or now - self._hosts_at >= _HOSTS_SECONDS:
            found = self._client.pages(f"{_ROOT}/jobs/{_part(job_id)}/hosts", "hosts")
            self._hosts = {one["host"]: _host(job_id, one) for one in found}
            self._hosts_at = now
        return self._hosts


def _part(job_id: str) -> str:
    """A job's id in a path; ConfigError for what can't be one."""
    if not is_job_id(job_id):
        raise unknown(job_id)
    return job_id


def _body(wanted: Wanted) -> dict[str, Any]:
    if wanted.backfill is not None:
        return {"backfill": wanted.backfill.model_dump(mode="json")}
    if wanted.config is None:
        raise ConfigError("name a document, or a stored config with --config-name")
    return {"config": wanted.config, "overrides": dict(wanted.overrides)}


def _status(said: Mapping[str, Any]) -> JobStatus:
    """What the tracker told, as far as the view of a job has it."""
    progress, types = said["progress"], said["record_types"]
    errors = {
        one["type"]: ErrorSummary(
            retryable=one["retryable"] or 0,
            permanent=one["permanent"] or 0,
            samples=[ErrorSample.model_validate(sample) for sample in one["samples"]],
        )
        for one in said["errors"]
    }
    ends = ("completed", "skipped", "unavailable", "failed", "cancelled", "retrying")
    totals = Counts(
        **{name: progress[name] for name in ends},
        unavailable_by=progress["unavailable_by"],
        failed_by=progress["failed_by"],
        records=types["records"],
        bytes=types["bytes"],
        by_type=types["by_type"],
        dropped=types["dropped"],
        errors={one["type"]: one["attempts"] for one in said["errors"]},
    )
    plain = ("job_id", "name", "status", "detail", "newest_rev", "history", "updated_at")
    times = ("submitted_at", "started_at", "finished_at", "progressed_at", "stale_since")
    return JobStatus.model_validate(
        {name: said[name] for name in (*plain, *times)}
        | {name: progress[name] for name in ("total", "plan_finished", "replaying", "duplicates", "left_out")}
        | {"totals": totals, "errors": errors}
    )


def _rates(said: Mapping[str, Any]) -> JobRates | None:
    performance = said["performance"]
    if performance["rates_at"] is None:
        return None
    return JobRates.model_validate(
        {
            "job_id": said["job_id"],
            "windows": performance["windows"],
            "updated_at": performance["rates_at"],
        }
    )


def _host(job_id: str, said: Mapping[str, Any]) -> JobHost:
    ends = ("completed", "skipped", "unavailable", "failed", "cancelled", "unavailable_by", "failed_by")
    counts = Counts.model_validate({name: said[name] for name in (*ends, "records", "bytes", "errors")})
    return JobHost(
        job_id=job_id,
        host=said["host"],
        planned=said["planned"],
        counts=counts,
        newest_rev=said["newest_rev"],
    )
