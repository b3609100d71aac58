"""One job from document to drained sinks on this machine: what `skyfill run` does.

The job's id is made from its document, so the same document in the same folder is the same job: an
unfinished one goes on, a finished one is told as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import orjson

from local.deployment import Deployment, LocalDynamoDB
from local.stores import folders_without_report, require_folders, require_tables
from messaging.control import (
    SinkPositions,
    StatusBoard,
    hosts_of,
    send_command,
    sink_kinds,
    was_submitted,
)
from messaging.names import SinkKind
from schemas.backfill import Backfill
from schemas.errors import ConfigError, LocalServerError
from schemas.job_status import JobHost, JobStatus
from schemas.jobs import JobMessage
from schemas.settings import Settings

_LOOK_SECONDS = 0.3
_HOST_GIVE_UP_SECONDS = 600.0
_REPORT_SECONDS = 300.0
"""A report that can't be written must not hold up the command for ever; the sink's log says why."""


@dataclass(frozen=True)
class Progress:
    """What can be seen of the job now."""

    phase: str
    job_id: str
    seconds: float
    status: JobStatus | None
    behind: dict[SinkKind, int | None]
    """Messages that each sink has still to store; None: unknown."""
    restarts: int


@dataclass(frozen=True)
class Result:
    """How the job ended."""

    job_id: str
    status: JobStatus
    hosts: dict[str, JobHost]
    """Its counts by host."""
    found_final: bool
    """It had ended before this run, which did nothing."""
    resumed: bool
    seconds: float
    restarts: int


class OneShot:
    """Life: made, `run` once."""

    def __init__(
        self,
        settings: Settings,
        backfill: Backfill,
        *,
        workers: int,
        local_dynamodb: LocalDynamoDB | None = None,
        again: bool = False,
        show: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        """`again` runs a finished job once more, under a new id; `show` is called several times a second.

        Raises ConfigError for a document with a schedule.
        """
        if backfill.schedule is not None:
            raise ConfigError(
                "the document has a `schedule`, and this command runs one job to its end; leave the key out, "
                "or submit the document to a running deployment with `skyfill start`"
            )
        kinds = sink_kinds(storage.type for storage in backfill.storage)
        self.deployment = Deployment(
            impatient(settings),
            workers=workers,
            sinks=kinds,
            local_dynamodb=local_dynamodb,
            report=self._tell,
        )
        self._backfill, self._again, self._show = backfill, again, show
        self._kinds = kinds
        self._started = time.monotonic()
        self._job_id = job_id_of(backfill)
        self._status: JobStatus | None = None
        self._behind: dict[SinkKind, int | None] = dict.fromkeys(kinds)

    async def run(self, before_stop: Callable[[Settings], Awaitable[None]] | None = None) -> Result:
        """Runs the job to its end; always stops what it started.

        Raises ConfigError, DeploymentError and SinkError: the store, broker or folder is not as it has to be.
        `before_stop` is called when all is stored and the servers still run, with their addresses.
        """
        try:
            self._tell("starting servers")
            require_folders(self._backfill)
            settings = await self.deployment.start_servers()
            board = await asyncio.to_thread(StatusBoard, settings.kafka)
            sinks = SinkPositions(settings.kafka)
            known = self._choose_job(board)
            ended = known is not None and known.final
            # An earlier run may have been killed between the job's end and the last row's.
            if known and ended and not await self._is_left(known, sinks):
                hosts = await asyncio.to_thread(hosts_of, settings.kafka, self._job_id)
                return self._result(known, hosts, found_final=True)
            await asyncio.to_thread(
                require_tables, self._backfill, settings.dynamodb, create=self.deployment.creates_tables
            )
            resumed = await asyncio.to_thread(was_submitted, settings.kafka, self._job_id)
            if not ended:
                await asyncio.to_thread(self._submit, settings)
            self._tell("starting processes")
            self.deployment.start_processes()
            final = await self._watched(self._to_the_end(board, sinks))
            hosts = await asyncio.to_thread(hosts_of, settings.kafka, self._job_id)
            if before_stop is not None:
                self._tell("comparing")
                await before_stop(settings)
            return self._result(final, hosts, resumed=resumed)
        finally:
            self._tell("stopping")
            await self.deployment.stop()

    def _submit(self, settings: Settings) -> None:
        document = self._backfill.model_dump(mode="json")
        send_command(settings.kafka, self._job_id, JobMessage(action="start", backfill=document))

    def _choose_job(self, board: StatusBoard) -> JobStatus | None:
        """With `again`, the first id whose job is not finished."""
        first, n = self._job_id, 1
        while self._again and (found := board.of(self._job_id)) is not None and found.final:
            n += 1
            self._job_id = f"{first}-{n}"
        return board.of(self._job_id)

    async def _watched(self, work: Coroutine[Any, Any, JobStatus]) -> JobStatus:
        """The result of `work`, unless a process or server can't be kept running before."""
        working = asyncio.create_task(work)
        watching = asyncio.create_task(self.deployment.watch())
        try:
            await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                watching.result()
                raise LocalServerError("the processes are no longer watched")
            return working.result()
        finally:
            working.cancel()
            watching.cancel()

    async def _to_the_end(self, board: StatusBoard, sinks: SinkPositions) -> JobStatus:
        while True:
            await asyncio.to_thread(board.refresh, _LOOK_SECONDS)
            self._status = board.of(self._job_id)
            if self._status is not None and self._status.final:
                break
            await self._look_at_sinks(sinks, await asyncio.to_thread(sinks.ends))
            self._tell("fetching")
        ends = await asyncio.to_thread(sinks.ends)
        while await self._look_at_sinks(sinks, ends):
            self._tell("storing")
            await asyncio.sleep(_LOOK_SECONDS)
        give_up_at = time.monotonic() + _REPORT_SECONDS
        while folders_without_report(self._backfill, self._status) and time.monotonic() < give_up_at:
            self._tell("writing the report")
            await asyncio.sleep(_LOOK_SECONDS)
        self._tell("stored")
        return self._status

    async def _is_left(self, ended: JobStatus, sinks: SinkPositions) -> bool:
        """Whether rows or the report of a job that had ended are still to be stored."""
        behind = await self._look_at_sinks(sinks, await asyncio.to_thread(sinks.ends))
        # A folder that is empty was emptied since: its report is not wanted any more than its rows.
        lacking = folders_without_report(self._backfill, ended)
        return behind or any(any(folder.iterdir()) for folder in lacking)

    async def _look_at_sinks(self, sinks: SinkPositions, ends: dict[int, int]) -> bool:
        """Whether a sink is still behind."""
        for kind in self._kinds:
            self._behind[kind] = await asyncio.to_thread(sinks.behind, kind, ends)
        return any(behind != 0 for behind in self._behind.values())

    def _tell(self, phase: str) -> None:
        supervisor = self.deployment.supervisor
        self._show(
            Progress(
                phase,
                self._job_id,
                time.monotonic() - self._started,
                self._status,
                dict(self._behind),
                supervisor.restarts() if supervisor else 0,
            )
        )

    def _result(
        self,
        status: JobStatus,
        hosts: dict[str, JobHost],
        *,
        found_final: bool = False,
        resumed: bool = False,
    ) -> Result:
        supervisor = self.deployment.supervisor
        seconds = time.monotonic() - self._started
        restarts = supervisor.restarts() if supervisor else 0
        return Result(self._job_id, status, hosts, found_final, resumed, seconds, restarts)


def impatient(settings: Settings) -> Settings:
    """Somebody waits for the end: a host that is down is given up sooner, unless the settings say when."""
    if "host_give_up_seconds" in settings.worker.model_fields_set:
        return settings
    worker = settings.worker.model_copy(update={"host_give_up_seconds": _HOST_GIVE_UP_SECONDS})
    return settings.model_copy(update={"worker": worker})


def job_id_of(backfill: Backfill) -> str:
    """The id of a document's job: its name, and 10 hexadecimal digits of its content."""
    document = backfill.model_dump(mode="json")
    # These keys came later: documents without them keep their jobs' ids.
    places = [(document, "schedule"), (document["monitoring"], "webhooks")]
    places += [
        (section, key)
        for section in (document["source"], *document["storage"])
        for key in ("access_key_id", "secret_access_key", "session_token")
    ]
    for section, key in places:
        if not section.get(key):
            section.pop(key, None)
    content = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    return f"{backfill.name}-{hashlib.sha256(content).hexdigest()[:10]}"
