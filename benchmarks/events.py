"""The events of a repository as the worker publishes them: input of the sinks and of the calibration."""

from __future__ import annotations

import time
from dataclasses import dataclass

from atp import repo
from benchmarks.repositories import Repositories
from schemas.job_specs import JobSpec
from schemas.records import sync_event
from stream_workers.fetch.events import RepoEvents
from stream_workers.fetch.selection import Selection


@dataclass(frozen=True)
class AccountEvents:
    """One account's messages of `records`, keyed by its DID."""

    did: str
    records: list[bytes]
    marker: bytes


def events_of(repositories: Repositories, number: int, spec: JobSpec) -> AccountEvents:
    """All events of one account, in the order of publishing."""
    did, now = repositories.account(number).did, time.time()
    selection = Selection(spec.backfill)
    proven = repo.read(repositories.car(number), did, repositories.signing_key(number))
    records = list(RepoEvents(proven, spec.job_id, "benchmark", selection, now))
    marker = sync_event(did, int(now * 1e6), spec.job_id, proven.rev, len(records), selection.fingerprint)
    return AccountEvents(did, records, marker)
