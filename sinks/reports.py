"""The report of each job that has ended, beside its Parquet files: `_skyfill/accounts.csv.gz` and a summary.

A report is a function of what Kafka holds, so it may be written by anybody, again, and at any time: a kill
leaves a draft, and the next look writes it anew. It is no part of the rows' delivery: where it can't be
written, that is logged and tried again, and nothing else waits for it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import orjson
from confluent_kafka import KafkaException

from messaging.control import hosts_of
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.polling import Delivered
from messaging.scan import scan
from messaging.views import CompactedView
from schemas.errors import SkyfillError
from schemas.job_specs import JobSpec
from schemas.job_status import JobStatus
from schemas.settings import KafkaSettings
from sinks.accounts import replaced_by_replays, summary, write_accounts

FOLDER = "_skyfill"
ACCOUNTS, SUMMARY = "accounts.csv.gz", "summary.json"
_LOOK_SECONDS = 0.3
_AGAIN_SECONDS = 30.0
_NEW_SECONDS = 3600.0
"""A folder that does not exist is made only for a job that has just ended: who deleted it wants it gone."""
_log = logging.getLogger("skyfill.reports")


def report_of(destination: str | Path, job_id: str) -> Path:
    """The folder of a job's report; complete once it holds `summary.json`. The pair of files one level up is
    that of the job that ended last."""
    return Path(destination) / FOLDER / job_id


def has_report(destination: str | Path, status: JobStatus) -> bool:
    """Whether the job's report is there, of this end of it or a later one: a broker that lost its data knows
    the same job anew, and what the job came to before is no report of it."""
    folder = report_of(destination, status.job_id)
    if status.finished_at is None:
        return (folder / SUMMARY).exists()
    written = _finished_at(folder)
    return written is not None and written >= status.finished_at


class Reports:
    """Life: `begin` (starts its thread), `finish`."""

    def __init__(
        self,
        kafka: KafkaSettings,
        destinations: Callable[[JobSpec], Iterable[str]],
        mine: Callable[[int], bool],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`destinations` names the folders of a job. `mine` tells whether this process holds a partition of
        `records`: each folder is looked after by the holder of one, which spares the others the work."""
        self._kafka, self._names = kafka, Names(kafka.topic_prefix)
        self._destinations, self._mine, self._clock = destinations, mine, clock
        self._left: dict[str, list[str]] = {}
        """Jobs that have ended, and their folders that are not seen to yet, or not by this process."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def begin(self) -> None:
        """Starts looking for jobs that have ended."""
        self._thread.start()

    def finish(self) -> None:
        """Ends; what is being written is given up, and written by the next process."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except _Stopped:
                return
            except (SkyfillError, KafkaException, OSError) as error:
                _log.warning("reports can't be written now, and will be tried again: %s", error)
            except Exception:
                _log.exception("reports met an unexpected error, and will be tried again")
            self._stop.wait(_AGAIN_SECONDS)

    def _follow(self) -> None:
        specs = CompactedView(self._kafka, self._names.job_specs, JobSpec.decode)
        statuses = CompactedView(self._kafka, self._names.job_status, JobStatus.decode)
        try:
            specs.catch_up()
            self._left.clear()
            while not self._stop.is_set():
                changed = statuses.poll(_LOOK_SECONDS)
                specs.poll()
                for job_id in changed:
                    spec, status = specs.items.get(job_id), statuses.items.get(job_id)
                    # A schedule has fetched nothing itself: its runs have reports.
                    is_job = spec is not None and spec.backfill.schedule is None
                    if spec is not None and is_job and status is not None and status.final:
                        self._left[job_id] = list(self._destinations(spec))
                    else:
                        self._left.pop(
                            job_id, None
                        )  # replays let it go on: its report waits for its next end
                for job_id in self._left:
                    self._look_after(specs.items[job_id], statuses.items[job_id])
                self._left = {job_id: folders for job_id, folders in self._left.items() if folders}
        finally:
            specs.close()
            statuses.close()

    def _look_after(self, spec: JobSpec, status: JobStatus) -> None:
        for destination in list(self._left[spec.job_id]):
            if self._mine(partition_for(destination, self._kafka.partitions.records)):
                if self._wanted(Path(destination), status):
                    self._write(Path(destination), spec, status)
                self._left[spec.job_id].remove(destination)

    def _wanted(self, folder: Path, status: JobStatus) -> bool:
        if has_report(folder, status):
            return False
        age = self._clock() - status.finished_at.timestamp() if status.finished_at else 0.0
        return folder.exists() or age < _NEW_SECONDS

    def _write(self, destination: Path, spec: JobSpec, status: JobStatus) -> None:
        folder = report_of(destination, spec.job_id)
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".*.draft"):
            left.unlink(missing_ok=True)
        (folder / SUMMARY).unlink(missing_ok=True)  # of an earlier end: it would not fit the new file
        partition = partition_for(spec.job_id, self._kafka.partitions.outcomes)

        def outcomes() -> Iterator[Delivered]:
            return self._unless_stopped(scan(self._kafka, self._names.outcomes, partition, spec.submitted_at))

        replaced = replaced_by_replays(spec.job_id, outcomes()) if status.replayed else {}
        with _published(folder / ACCOUNTS) as file:
            listed = write_accounts(file, spec.job_id, outcomes(), replaced)
        text = summary(spec, status, hosts_of(self._kafka, spec.job_id), listed)
        with _published(folder / SUMMARY) as file:
            file.write(text)
        if listed.accounts != status.totals.terminal:
            _log.error(
                "%s lists %d accounts of %d: the broker no longer keeps the outcomes of the others",
                folder / ACCOUNTS,
                listed.accounts,
                status.totals.terminal,
            )
        if status.finished_at is not None and not _ended_later(destination / FOLDER, status.finished_at):
            for name in (ACCOUNTS, SUMMARY):
                with _published(destination / FOLDER / name) as file:
                    file.write((folder / name).read_bytes())
        _log.info("wrote the report of %s to %s", spec.job_id, folder)

    def _unless_stopped(self, outcomes: Iterable[Delivered]) -> Iterator[Delivered]:
        for outcome in outcomes:
            if self._stop.is_set():
                raise _Stopped
            yield outcome


class _Stopped(Exception):
    """The process ends in the middle of a report."""


def _ended_later(folder: Path, finished_at: datetime) -> bool:
    """Whether the report there is of a job that ended later."""
    shown = _finished_at(folder)
    return shown is not None and shown > finished_at


def _finished_at(folder: Path) -> datetime | None:
    """When the job whose report is there ended; None where no whole report is."""
    try:
        return datetime.fromisoformat(orjson.loads((folder / SUMMARY).read_bytes())["finished_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _published(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its place whole and durable, in one step, if the block ends well."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.draft")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
