"""What became of each account of a job, as a file for people and programs: one row an account.

A function of the job's outcomes alone: whoever writes it, whenever, writes the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import orjson

from messaging.outcomes import terminal_outcomes
from messaging.polling import Delivered
from schemas.job_specs import JobSpec
from schemas.job_status import JobHost, JobStatus
from schemas.outcomes import RepoOutcome

COLUMNS = (
    "did",
    "handle",
    "host",
    "status",
    "error_type",
    "reason",
    "attempts",
    "strategy",
    "proof",
    "rev",
    "records",
    "records_by_type",
    "dropped_by_reason",
    "bytes",
    "fetched_at",
)
"""`records_by_type` and `dropped_by_reason` are JSON objects; `bytes` is of the CAR; `fetched_at` is UTC."""


@dataclass
class Listed:
    """What a file of accounts holds."""

    accounts: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    sha256: str = ""


class _Hashing(io.RawIOBase):
    """Passes bytes on to a file and keeps their SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return self._file.write(data)


def replaced_by_replays(job_id: str, outcomes: Iterable[Delivered]) -> dict[str, int]:
    """Accounts whose outcomes before a replay are replaced by that of the replay, and the replay's number."""
    replaced: dict[str, int] = {}
    for outcome in terminal_outcomes(job_id, outcomes):
        if outcome.replaces is not None:
            did = outcome.replaces.did
            replaced[did] = max(replaced.get(did, 0), outcome.replay)
    return replaced


def write_accounts(
    file: BinaryIO, job_id: str, outcomes: Iterable[Delivered], replaced: Mapping[str, int]
) -> Listed:
    """Writes the job's terminal outcomes, of each account the last one, as gzipped CSV.

    `replaced` is what `replaced_by_replays` makes of the same outcomes.
    """
    listed, hashing = Listed(), _Hashing(file)
    # Neither a time nor a name in the header: the same rows are the same file.
    with gzip.GzipFile("", "wb", 6, cast(BinaryIO, hashing), mtime=0) as packed:
        text = io.TextIOWrapper(packed, "utf-8", newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(COLUMNS)
        for outcome in terminal_outcomes(job_id, outcomes):
            if outcome.replay < replaced.get(outcome.did, 0):
                continue
            rows.writerow(_row(outcome))
            listed.accounts += 1
            listed.by_status[outcome.status] += 1
        text.flush()
        text.detach()
    listed.sha256 = hashing.sha256.hexdigest()
    return listed


def summary(spec: JobSpec, status: JobStatus, hosts: Mapping[str, JobHost], listed: Listed) -> bytes:
    """The job in JSON: what was asked for, what came and from where, and what the file of accounts holds."""
    backfill = spec.backfill.model_dump(mode="json", include={"name", "record_types", "time_range", "uris"})
    said = status.model_dump(mode="json", exclude={"updated_at", "name"})
    missing = status.totals.terminal - listed.accounts
    listing: dict[str, Any] = {
        "file": "accounts.csv.gz",
        "sha256": listed.sha256,
        "accounts": listed.accounts,
        "by_status": dict(sorted(listed.by_status.items())),
        # Above 0 only where Kafka no longer kept the outcomes of accounts that are counted.
        "missing": missing,
    }
    if missing:
        listing["note"] = (
            f"{missing:,} accounts of {status.totals.terminal:,} are counted here and have no row: Kafka no "
            f"longer keeps their outcomes, which the topic's retention deletes some time after they were "
            f"written"
        )
    pages = {
        host: page.model_dump(mode="json", exclude={"job_id", "host"}) for host, page in sorted(hosts.items())
    }
    whole = {**backfill, **said, "hosts": pages, "accounts": listing}
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _row(outcome: RepoOutcome) -> list[Any]:
    return [
        outcome.did,
        outcome.handle,
        outcome.host,
        outcome.status,
        outcome.error_type,
        outcome.reason,
        outcome.attempt,
        outcome.strategy,
        outcome.proof,
        outcome.rev,
        sum(outcome.records.values()),
        _json(outcome.records),
        _json(outcome.dropped),
        outcome.bytes,
        outcome.fetched_at.isoformat() if outcome.fetched_at else None,
    ]


def _json(counts: dict[str, int]) -> str | None:
    return orjson.dumps(counts, option=orjson.OPT_SORT_KEYS).decode() if counts else None
