"""Where the fetch worker's CPU goes, as far as its parts can be called alone: in this process, one by one.

What remains of the worker's own figure is the download, the event loop, the group and the threads' handing
over.
"""

from __future__ import annotations

import time
from typing import Any

from atp import repo
from atp.car import Car
from benchmarks.repositories import Repositories
from schemas.job_specs import JobSpec
from stream_workers.fetch.events import RepoEvents
from stream_workers.fetch.selection import Selection

_MOST_REPOSITORIES = 100
_MICRO = 1e6


def parts(repositories: Repositories, spec: JobSpec) -> dict[str, Any]:
    """CPU microseconds a record of three steps, each without those before it."""
    car_seconds = proof_seconds = event_seconds = 0.0
    records = 0
    selection = Selection(spec.backfill)
    for number in range(min(_MOST_REPOSITORIES, repositories.count)):
        car, did = repositories.car(number), repositories.account(number).did
        key = repositories.signing_key(number)
        begun = time.process_time()
        Car(car)
        hashed = time.process_time()
        proven = repo.read(car, did, key)
        read = time.process_time()
        records += len(list(RepoEvents(proven, spec.job_id, "benchmark", selection, time.time())))
        written = time.process_time()
        car_seconds += hashed - begun
        proof_seconds += read - hashed - (hashed - begun)
        event_seconds += written - read
    return {
        "car_and_hashes_us_per_record": car_seconds * _MICRO / records,
        "commit_and_tree_us_per_record": proof_seconds * _MICRO / records,
        "events_us_per_record": event_seconds * _MICRO / records,
    }
