"""The dry run of a document: what a job of it would take.

Nothing is written anywhere. What was counted, what was sampled and what is a mean of the network is told
apart: nobody may take a guess for a count.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

from atp.plc_mirror import open_mirror
from messaging.names import Names
from messaging.views import CompactedView
from producers.budgets import pace_of
from producers.metrics import PlannerMetrics
from producers.resolve import Resolves
from producers.run import new_resolver
from producers.sources import Reach
from producers.survey import Found, Survey
from schemas.backfill import Backfill
from schemas.estimate import Estimate, HostEstimate
from schemas.hosts import HostState
from schemas.job_specs import JobSpec
from schemas.job_status import JobStatus
from schemas.scope import ScopeJudge
from schemas.settings import KafkaSettings, Settings

MEAN_BYTES = 250_000
"""Of a repository's CAR, over the whole network."""
MEAN_RECORDS = 450
"""Of a repository, likewise."""
_LISTED_RECORD_BYTES = 700
"""Of a record in a page of listRecords, JSON and all."""
_LIST_PAGE = 100
_MOST_HOSTS = 20


async def estimate(settings: Settings, backfill: Backfill, *, deadline_seconds: float = 10.0) -> Estimate:
    """What a job of this document would take, within about `deadline_seconds`.

    Raises SourceError where the source can't be read, DeploymentError where the broker does not answer.
    """
    boards = await asyncio.to_thread(Boards, settings.kafka)
    try:
        async with _network(settings, boards) as (reach, resolver):
            found = await Survey(backfill, reach, resolver, seconds=deadline_seconds).take()
            return Arithmetic(backfill, boards.hosts).of(found)
    finally:
        await asyncio.to_thread(boards.close)


class Boards:
    """What Kafka knows of hosts and jobs, read once."""

    def __init__(self, kafka: KafkaSettings) -> None:
        names = Names(kafka.topic_prefix)
        self._hosts = CompactedView(kafka, names.hosts, HostState.decode)
        self._specs = CompactedView(kafka, names.job_specs, JobSpec.decode)
        self._statuses = CompactedView(kafka, names.job_status, JobStatus.decode)
        for view in (self._hosts, self._specs, self._statuses):
            view.catch_up()

    @property
    def hosts(self) -> Mapping[str, HostState]:
        """By origin."""
        return self._hosts.items

    def spec(self, job_id: str) -> JobSpec | None:
        """See producers.sources.reach.JobBook."""
        return self._specs.items.get(job_id)

    def status(self, job_id: str) -> JobStatus | None:
        """See producers.sources.reach.JobBook."""
        return self._statuses.items.get(job_id)

    def close(self) -> None:
        """Leaves the topics."""
        for view in (self._hosts, self._specs, self._statuses):
            view.close()


@asynccontextmanager
async def _network(settings: Settings, boards: Boards) -> AsyncIterator[tuple[Reach, Resolves]]:
    network = settings.network
    mirror = open_mirror(settings.plc_mirror, network.plc_url, required=network.plc_mirror is not None)
    client, resolver = await new_resolver(network, PlannerMetrics(), mirror=mirror)
    try:
        yield Reach(settings, client, boards), resolver
    finally:
        await client.close()
        if mirror:
            mirror.close()


class Arithmetic:
    """From what a source holds to what a job of it would take."""

    def __init__(self, backfill: Backfill, hosts: Mapping[str, HostState]) -> None:
        """`hosts` is what the topic `hosts` says of origins."""
        self._backfill, self._hosts = backfill, hosts
        self._scope = ScopeJudge(backfill.scope)

    def of(self, found: Found) -> Estimate:
        """What fetching all that would take."""
        allowed = {h: n for h, n in found.hosts.items() if not self._scope.excludes_host(h)}
        hosts = sorted(
            (self._host(host, accounts) for host, accounts in allowed.items()),
            key=lambda one: (-one.seconds, one.host),
        )
        fetched = sum(allowed.values())
        known = fetched > 0 or not found.unplaced_count
        records = fetched * MEAN_RECORDS
        size = records * _LISTED_RECORD_BYTES if self._lists else fetched * MEAN_BYTES
        return Estimate(
            accounts=found.listed or len(found.accounts),
            accounts_are="listed" if found.listed else "counted" if found.whole else "at_least",
            duplicates=found.duplicates,
            left_out=dict(found.left_out),
            resolved=fetched,
            unresolvable=found.unresolvable,
            requests=sum(one.requests for one in hosts) if known else None,
            bytes=size if known else None,
            records=records if known else None,
            seconds=self._duration(hosts) if known else None,
            hosts=hosts[:_MOST_HOSTS],
            hosts_found=len(allowed),
            notes=[*found.notes, *self._notes(found)],
        )

    def _notes(self, found: Found) -> Iterator[str]:
        if not found.whole:
            yield "the source was not read to its end: all figures are of the part that was; a job takes more"
        if self._backfill.record_types or self._backfill.time_range:
            yield "records are those of whole repositories; the job publishes the selected ones"
        if self._backfill.skip_existing:
            yield "what the stores hold already will be skipped; it is counted here all the same"
        if found.gone:
            yield f"{found.gone:,} accounts are listed as gone and are not asked for"
        if found.hosts:
            yield (
                f"bytes and records are the network's means: {MEAN_BYTES // 1000} KB and {MEAN_RECORDS} "
                f"records a repository"
            )

    @property
    def _lists(self) -> bool:
        return self._backfill.processing.strategy == "list"

    def _host(self, host: str, accounts: int) -> HostEstimate:
        pace, budget = pace_of(self._hosts.get(host), self._backfill.processing.requests_per_second)
        requests = accounts * self._requests_each()
        return HostEstimate(
            host=host,
            accounts=accounts,
            requests=requests,
            requests_per_second=pace,
            budget=budget,
            seconds=requests / pace,
        )

    def _requests_each(self) -> int:
        """Of one account: a CAR, or the pages of a mean repository between two looks at its rev."""
        if not self._lists:
            return 1
        return 2 + max(len(self._backfill.record_types), -(-MEAN_RECORDS // _LIST_PAGE))

    def _duration(self, hosts: list[HostEstimate]) -> float:
        """The slowest host, or all of them where one worker has more hosts than places."""
        if not hosts:
            return 0.0
        places = self._backfill.processing.max_concurrent_pds
        return max(hosts[0].seconds, sum(one.seconds for one in hosts) / places)
