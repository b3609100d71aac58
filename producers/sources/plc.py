"""Accounts from the log of the PLC directory, each as its last operation says: host and key come along, so
nobody has to be asked for them.

The log is not in the order of accounts, and an account's last operation is known at the log's end only. So it
is read into a mirror first: into the deployment's own where there is one, which needs what is new alone; else
into one that lasts as long as the job's plan, from the wanted day on.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import closing
from datetime import UTC, datetime, time
from functools import partial
from pathlib import Path

import orjson

from atp.identity import Identity
from atp.net import canonical_origin
from atp.plc import Position
from atp.plc_mirror import MOST_AGE, PlcMirror, packed
from atp.plc_mirror import Entry as Mirrored
from atp.plc_sync import PlcSync, Progress
from atp.plc_writer import MirrorWriter
from producers.sources.base import AccountSource, Entry, Page
from producers.sources.reach import Reach
from producers.sources.threads import in_thread
from schemas.errors import AddressForbidden, DeploymentError, IdentityUnreachable, SkyfillError, SourceError
from schemas.settings import Settings
from schemas.sources import PlcSource

_TELL_OPERATIONS = 100_000
_SUFFIXES = ("", "-wal", "-shm", ".lock")
_log = logging.getLogger("skyfill.planner")


class PlcAccounts(AccountSource):
    """Accounts in the order of their DIDs. A cursor is the last one of a page."""

    def __init__(self, source: PlcSource, job_id: str, reach: Reach, page_entries: int) -> None:
        super().__init__(page_entries)
        self._reach, self._job_id = reach, job_id
        self._directory = reach.settings.network.plc_url
        day = source.since
        since = datetime.combine(day, time(), UTC) if day is not None else None
        self._since = int(since.timestamp() * 1000) if since is not None else 0
        self._own = _own_log(reach.settings, job_id)
        self._told = 0

    @property
    def name(self) -> str:
        return f"the log of {self._directory}"

    async def _pages(self, after: str | None) -> AsyncGenerator[Page, None]:
        if after is None:
            await self._gather()
        with closing(self._open()) as mirror:
            last = None if after is None else str(orjson.loads(after))
            while rows := await self._walk(mirror, last):
                last = rows[-1][0]
                yield Page(self._entries(rows), orjson.dumps(last).decode())

    async def again(self, until: str) -> AsyncGenerator[Page, None]:
        """See AccountSource."""
        end = str(orjson.loads(until))
        with closing(self._open()) as mirror:
            last = None
            while rows := [row for row in await self._walk(mirror, last) if packed(row[0]) <= packed(end)]:
                last = rows[-1][0]
                yield Page(self._entries(rows), orjson.dumps(last).decode())

    async def _walk(self, mirror: PlcMirror, last: str | None) -> list[tuple[str, Mirrored]]:
        try:
            return await in_thread(partial(mirror.walk, last, self.page_entries, since=self._since))
        except DeploymentError as error:
            raise SourceError(str(error)) from error

    def _entries(self, rows: Sequence[tuple[str, Mirrored]]) -> list[Entry]:
        return [Entry(did, identity=self._allowed(mirrored)) for did, mirrored in rows]

    def _allowed(self, mirrored: Mirrored) -> Identity | SkyfillError | None:
        """What the last operation says; an operation of a kind that is not known has to be resolved."""
        answer = mirrored.answer
        if isinstance(answer, Identity):
            try:
                canonical_origin(answer.pds, allow_private=self._reach.network().allow_private_hosts)
            except AddressForbidden as error:
                return error
        return answer

    async def _gather(self) -> None:
        """Brings a mirror to the log's end. Raises SourceError."""
        try:
            with closing(self._writer()) as writer:
                sync = PlcSync(
                    writer,
                    self._reach.network(),
                    per_second=self._reach.settings.network.plc_requests_per_second,
                    tell=self._tell,
                    limiter=self._reach.limiters.of(self._directory),
                    backoff=self._reach.relay_backoff,
                )
                await sync.run()
        except (DeploymentError, IdentityUnreachable) as error:
            mirror = self._shared()
            if mirror is None:
                raise SourceError(f"{self.name} can't be read: {error}") from error
            with closing(mirror):
                age = mirror.age()
            if age is None or age > MOST_AGE:
                raise SourceError(
                    f"{self.name} can't be read to its end: {error}; submit the job again when `skyfill plc "
                    f"status` says that the mirror is caught up"
                ) from error
            _log.warning("%s: the mirror is used as it is: %s", self.name, error)

    def _writer(self) -> MirrorWriter:
        shared = self._shared()
        if shared is not None:
            shared.close()
            return MirrorWriter(shared.path, self._directory)
        writer = MirrorWriter(self._own, self._directory)
        if self._since and writer.status().position is None:
            writer.apply((), Position(None, self._since))
        return writer

    def _open(self) -> PlcMirror:
        try:
            return self._shared() or PlcMirror(self._own)
        except DeploymentError as error:
            raise SourceError(
                f"what was read of {self.name} is not there any more ({error}); submit the job under a new id"
            ) from error

    def _shared(self) -> PlcMirror | None:
        """The deployment's mirror, if there is one of this directory."""
        path = self._reach.settings.plc_mirror
        if not path.exists():
            return None
        mirror = PlcMirror(path)
        if mirror.status().directory == self._directory.rstrip("/"):
            return mirror
        mirror.close()
        return None

    def _tell(self, progress: Progress) -> None:
        if progress.trouble:
            _log.warning("%s: %s", self.name, progress.trouble)
        elif progress.operations - self._told >= _TELL_OPERATIONS:
            self._told = progress.operations
            _log.info(
                "%s: %d operations read, %.0f a second", self.name, progress.operations, progress.per_second
            )


def forget_log(settings: Settings, job_id: str) -> None:
    """Removes what was read of the log for a job whose plan is finished."""
    for suffix in _SUFFIXES:
        path = _own_log(settings, job_id)
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _own_log(settings: Settings, job_id: str) -> Path:
    return settings.data_dir / "plans" / f"{job_id}.plc"
