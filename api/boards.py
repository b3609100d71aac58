"""What Kafka says of jobs, hosts, configs and tokens, as the API answers from it.

What may never break: every API process answers alike. So each answer is made of all that was committed when
the request came, and a job is known from the moment in which its command is written.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from confluent_kafka.admin import AdminClient
from pydantic import ValidationError

from messaging.follower import Follower
from messaging.names import Names
from messaging.polling import Delivered
from messaging.rates_board import STALE_SECONDS
from messaging.rewind import places_since
from producers.commands import job_id_of
from schemas.backfill import Backfill
from schemas.configs import StoredConfig
from schemas.document import parse_document
from schemas.errors import ConfigError
from schemas.hosts import HostState
from schemas.job_specs import JobSpec
from schemas.job_status import JobHost, JobStatus, Status, job_of
from schemas.jobs import JobMessage
from schemas.message import Message
from schemas.rates import JobRates
from schemas.replays import Replay
from schemas.settings import KafkaSettings
from schemas.tokens import ApiToken

PATIENCE_SECONDS = 5.0
"""So long a request waits for Kafka before it is told to come again."""
_RATES_BACK = 5000
_JOBS_UNPACKED = 8
_STATES: dict[str, Status] = {"active": "queued", "paused": "paused", "cancelled": "cancelled"}
M = TypeVar("M", bound=Message)
_log = logging.getLogger("skyfill.api")


class Latest(Generic[M]):
    """The latest message of each key. What can't be read counts as deleted."""

    def __init__(self, topic: str, model: type[M]) -> None:
        self.topic, self._model = topic, model
        self.items: dict[str, M] = {}

    def begin(self, admin: AdminClient) -> Mapping[int, int]:
        """See messaging.follower.Kept."""
        return {}

    def decode(self, message: Delivered) -> M | None:
        """See messaging.follower.Kept."""
        try:
            return None if message.value is None else self._model.decode(message.value)
        except ValidationError:
            place = f"{message.topic} [{message.partition}] offset {message.offset}"
            _log.warning("%s can't be read by this version and is passed over", place)
            return None

    def keep(self, message: Delivered, decoded: M | None) -> None:
        """See messaging.follower.Kept."""
        if decoded is None:
            self.items.pop(message.key, None)
        else:
            self.items[message.key] = decoded


class Pace(Latest[JobRates]):
    """The rates of the last minute, as messaging.rates_board has them."""

    def __init__(self, topic: str) -> None:
        super().__init__(topic, JobRates)

    def begin(self, admin: AdminClient) -> Mapping[int, int]:
        """What is older would not be shown."""
        return places_since(admin, self.topic, STALE_SECONDS, _RATES_BACK)

    def of(self, job_id: str) -> JobRates | None:
        """A job's rates; None if none were told within the last minute."""
        found = self.items.get(job_id)
        if found is None or found.updated_at >= datetime.now(UTC) - timedelta(seconds=STALE_SECONDS):
            return found
        del self.items[job_id]
        return None

    def all(self) -> list[JobRates]:
        """Of all jobs."""
        return [rates for job_id in list(self.items) if (rates := self.of(job_id)) is not None]


@dataclass(frozen=True)
class Start:
    """A start that the planner has not judged yet, as far as is known here."""

    offset: int
    at: datetime
    document: dict[str, Any]

    @property
    def backfill(self) -> Backfill | None:
        """The document; None if there is something wrong with it."""
        try:
            return parse_document(self.document)
        except ConfigError:
            return None


class Starts:
    """The first start of each job id that nothing else is known of."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.items: dict[str, Start] = {}
        self.judged: set[str] = set()

    def begin(self, admin: AdminClient) -> Mapping[int, int]:
        """See messaging.follower.Kept."""
        return {}

    def decode(self, message: Delivered) -> Start | None:
        """See messaging.follower.Kept."""
        try:
            command = JobMessage.decode(message.value or b"")
        except ValidationError:
            return None
        if command.action != "start" or command.backfill is None:
            return None
        return Start(message.offset, datetime.fromtimestamp(message.timestamp / 1000, UTC), command.backfill)

    def keep(self, message: Delivered, decoded: Start | None) -> None:
        """See messaging.follower.Kept."""
        job_id = job_id_of(message.key, message.offset)
        if decoded is not None and job_id not in self.judged:
            self.items.setdefault(job_id, decoded)

    def judge(self, job_id: str) -> None:
        """From now on others know of the job."""
        self.judged.add(job_id)
        self.items.pop(job_id, None)


class Judged(Latest[M]):
    """A topic whose messages say that a job's start was judged."""

    def __init__(self, topic: str, model: type[M], starts: Starts) -> None:
        super().__init__(topic, model)
        self._starts = starts

    def keep(self, message: Delivered, decoded: M | None) -> None:
        """See messaging.follower.Kept."""
        super().keep(message, decoded)
        if decoded is not None:
            self._starts.judge(message.key)


class JobHosts:
    """Each job's part by host: packed, since there may be thousands a job, and few jobs are looked at."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._packed: dict[str, dict[str, bytes]] = {}
        self._unpacked: OrderedDict[str, dict[str, tuple[bytes, JobHost]]] = OrderedDict()

    def begin(self, admin: AdminClient) -> Mapping[int, int]:
        """See messaging.follower.Kept."""
        return {}

    def decode(self, message: Delivered) -> bytes | None:
        """See messaging.follower.Kept."""
        return message.value

    def keep(self, message: Delivered, decoded: bytes | None) -> None:
        """See messaging.follower.Kept."""
        job_id = job_of(message.key)
        if decoded is not None:
            self._packed.setdefault(job_id, {})[message.key] = decoded
        elif hosts := self._packed.get(job_id):
            hosts.pop(message.key, None)
            if not hosts:
                del self._packed[job_id]

    def of(self, job_id: str) -> dict[str, JobHost]:
        """A job's hosts, by their names."""
        before = self._unpacked.pop(job_id, {})
        now: dict[str, tuple[bytes, JobHost]] = {}
        for key, packed in self._packed.get(job_id, {}).items():
            known = before.get(key)
            if known is not None and known[0] is packed:
                now[key] = known
                continue
            try:
                now[key] = packed, JobHost.decode(packed)
            except ValidationError:
                _log.warning("job-hosts: %s can't be read by this version", key)
        self._unpacked[job_id] = now
        if len(self._unpacked) > _JOBS_UNPACKED:
            self._unpacked.popitem(last=False)
        return {found.host: found for _, found in now.values()}


@dataclass(frozen=True)
class Job:
    """A job as far as anything is known of it."""

    status: JobStatus
    backfill: Backfill | None
    """The document; None where it was refused."""


class Boards:
    """Life: made, `start`, `fresh` before each answer, `stop`; all of it in one event loop."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connects in `start`."""
        names = Names(kafka.topic_prefix)
        self.names = names
        self.starts = Starts(names.jobs)
        self.statuses = Judged(names.job_status, JobStatus, self.starts)
        self.specs = Judged(names.job_specs, JobSpec, self.starts)
        self.job_hosts = JobHosts(names.job_hosts)
        self.hosts = Latest(names.hosts, HostState)
        self.rates = Pace(names.rates)
        self.configs = Latest(names.configs, StoredConfig)
        self.tokens = Latest(names.tokens, ApiToken)
        self.replays = Latest(names.replays, Replay)
        self._follower = Follower(
            kafka,
            [
                self.starts,
                self.statuses,
                self.specs,
                self.job_hosts,
                self.hosts,
                self.rates,
                self.configs,
                self.tokens,
                self.replays,
            ],
        )

    async def start(self) -> None:
        """Reads all there is. Raises TopicMismatch and DeploymentError."""
        await self._follower.start()

    async def fresh(self, patience: float = PATIENCE_SECONDS) -> None:
        """Returns once all is read that was committed when this was called; DeploymentError if not."""
        await self._follower.read_up_to_now(patience)

    async def heard(self, topic: str, offset: int) -> None:
        """Returns once a message of a topic with one partition is read. DeploymentError if it can't be."""
        await self._follower.read_beyond(topic, 0, offset, PATIENCE_SECONDS)

    async def fail(self) -> None:
        """Raises, once it happens, what has made reading impossible; to be cancelled."""
        await self._follower.fail()

    async def stop(self) -> None:
        """Leaves the topics."""
        await self._follower.stop()

    def job(self, job_id: str) -> Job | None:
        """A job, if anything is known of the id."""
        status, spec = self.statuses.items.get(job_id), self.specs.items.get(job_id)
        if status is not None:
            return Job(status, spec.backfill if spec else None)
        if spec is not None:
            # The tracker has not heard of it yet; `submitted_at` is when the planner took it.
            return Job(
                _untracked(job_id, spec.backfill, spec.submitted_at, _STATES[spec.state]), spec.backfill
            )
        start = self.starts.items.get(job_id)
        if start is None:
            return None
        backfill = start.backfill
        return Job(_untracked(job_id, backfill, start.at, "queued"), backfill)

    def jobs(self) -> Iterable[Job]:
        """All jobs, in no order."""
        known = {*self.statuses.items, *self.specs.items, *self.starts.items}
        return (job for job_id in known if (job := self.job(job_id)) is not None)


def _untracked(job_id: str, backfill: Backfill | None, at: datetime, status: Status) -> JobStatus:
    name = backfill.name if backfill else None
    return JobStatus(job_id=job_id, name=name, status=status, submitted_at=at, updated_at=at)
