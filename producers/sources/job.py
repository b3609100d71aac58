"""The accounts of another job, by what became of them: read from `outcomes`, the last outcome of each counts.

The job has to have ended, so its outcomes stay as they are; a cursor carries the offset up to which they were
read, and a second reading finds the same accounts in the same order.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from functools import partial

import orjson

from messaging import clients
from messaging.names import Names
from messaging.outcomes import terminal_outcomes
from messaging.partitioner import partition_for
from messaging.scan import scan
from messaging.topics import end_offsets
from producers.sources.base import Page
from producers.sources.listed import LIST_PAGE, ListedAccounts, Reading
from producers.sources.reach import Reach
from producers.sources.threads import in_thread
from schemas.errors import SourceError
from schemas.job_specs import JobSpec
from schemas.job_status import JobStatus
from schemas.outcomes import RepoOutcome
from schemas.sources import JobSource

_PATIENCE = 10.0
"""Seconds for the tracker's last word on a job that its user has seen to end."""
_CACHE_KIB = 16 * 1024
_log = logging.getLogger("skyfill.planner")


class JobAccounts(ListedAccounts):
    """Accounts in the order in which they first ended."""

    def __init__(self, source: JobSource, reach: Reach, page_entries: int = LIST_PAGE) -> None:
        super().__init__(page_entries)
        self._source, self._reach = source, reach
        self._kafka = reach.settings.kafka
        names = Names(self._kafka.topic_prefix)
        self._topic = names.outcomes
        self._partition = partition_for(source.job_id, self._kafka.partitions.outcomes)
        self._spec: JobSpec | None = None
        self._end = 0
        self._found = 0
        self._given_up = threading.Event()

    @property
    def name(self) -> str:
        return f"job {self._source.job_id} (outcome {' or '.join(self._source.outcome)})"

    async def _pages(self, after: str | None) -> AsyncGenerator[Page, None]:
        status = await self._ended()
        end, place = orjson.loads(after) if after is not None else (None, None)
        self._end = end if end is not None else await in_thread(self._end_now)
        first = True
        counted = None if place is None else orjson.dumps(place).decode()
        async with aclosing(super()._pages(counted)) as pages:
            async for page in pages:
                left_out = self._not_kept(status) if first and after is None else {}
                cursor = orjson.dumps([self._end, orjson.loads(page.cursor)]).decode()
                yield Page(page.entries, cursor, left_out)
                first = False

    async def again(self, until: str) -> AsyncGenerator[Page, None]:
        """See AccountSource."""
        await self._ended()
        self._end, place = orjson.loads(until)
        async with aclosing(super().again(orjson.dumps(place).decode())) as pages:
            async for page in pages:
                yield page

    async def _take(self, reading: Reading, most: int, until: int | None = None) -> list[str]:
        return await in_thread(partial(reading.take, most, until), self._given_up.set)

    async def _ended(self) -> JobStatus:
        """The job's last status. Raises SourceError if there is no such job, or if it has not ended."""
        job_id, jobs = self._source.job_id, self._reach.jobs
        deadline = time.monotonic() + _PATIENCE
        while True:
            self._spec, status = jobs.spec(job_id), jobs.status(job_id)
            if self._spec is None:
                raise SourceError(
                    f"there is no job {job_id} that was ever begun; `skyfill jobs` lists those there are"
                )
            if status is not None and status.final:
                return status
            if time.monotonic() > deadline:
                said = "queued" if status is None else status.status
                raise SourceError(
                    f"job {job_id} has not ended ({said}), so its accounts are not all decided; wait for its "
                    f"end, or cancel it, then submit this job under another id"
                )
            await asyncio.sleep(0.1)

    def _end_now(self) -> int:
        return end_offsets(clients.admin(self._kafka), self._topic, [self._partition])[self._partition]

    def _entries(self) -> Generator[str | None, None, None]:
        """The last outcome of each account, kept in a file that has no name: no crash leaves it behind."""
        folder = self._reach.settings.data_dir / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".outcomes") as file:
            table = sqlite3.connect(file.name, isolation_level=None, check_same_thread=False)
            with closing(table):
                self._fill(table)
                self._found = table.execute("SELECT count(*) FROM ended").fetchone()[0]
                wanted = table.execute("SELECT account FROM ended WHERE wanted ORDER BY place")
                for (account,) in wanted:
                    yield account

    def _fill(self, table: sqlite3.Connection) -> None:
        assert self._spec is not None
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}"):
            table.execute(f"PRAGMA {pragma}").fetchall()
        table.execute("CREATE TABLE ended (place INTEGER PRIMARY KEY, account TEXT UNIQUE, wanted INTEGER)")
        messages = scan(self._kafka, self._topic, self._partition, self._spec.submitted_at, until=self._end)
        table.execute("BEGIN")
        for outcome in terminal_outcomes(self._source.job_id, messages):
            if self._given_up.is_set():
                raise SourceError(f"{self.name} was given up while it was being read")
            table.execute(
                "INSERT INTO ended (account, wanted) VALUES (?, ?) "
                "ON CONFLICT (account) DO UPDATE SET wanted = excluded.wanted",
                (outcome.did, self._wants(outcome)),
            )
        table.execute("COMMIT")

    def _wants(self, outcome: RepoOutcome) -> bool:
        kinds = self._source.error_type
        return outcome.status in self._source.outcome and (not kinds or outcome.error_type in kinds)

    def _not_kept(self, status: JobStatus) -> dict[str, int]:
        """How many accounts ended so long ago that the broker no longer keeps their outcomes."""
        missing = status.totals.terminal - self._found
        if missing <= 0:
            return {}
        _log.warning("%s: the outcomes of %d accounts are no longer kept", self.name, missing)
        return {"outcome_not_kept": missing}
