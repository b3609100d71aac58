"""The hosts that this worker asks: for each its limiter, its breaker, and what was learnt of it.

A host's tasks lie in one partition, so it is one worker's alone while that holds the partition. For the event
loop's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from atp.host_budget import HostBudget
from atp.limiter import HostLimiter
from schemas.backfill import Processing
from schemas.dids import DidTask
from schemas.hosts import BreakerState, HostState
from stream_workers.fetch.breaker import Breaker
from stream_workers.fetch.ending import Ending, Failed, Retry
from stream_workers.fetch.metrics import HostMetrics

WORTH_WAITING = 5.0
"""Seconds that a task waits for its host while it holds a place among those that run."""
_WRITE_SECONDS = 5.0
_FIRST_KIND = {"list": "getLatestCommit"}
"""What a go asks for first, by strategy; the others begin with the whole repository."""


class Host:
    """One host. Life: `heard` after each go; `state` now and then."""

    def __init__(self, origin: str, partition: int, clock: Callable[[], float], metrics: HostMetrics) -> None:
        """`partition` is that of its tasks."""
        self.origin, self.partition = origin, partition
        self.breaker = Breaker()
        self.limiter = HostLimiter(
            clock, budget=HostBudget(metrics.spent, metrics.refused), waited=metrics.waited
        )
        self.answers = 0
        """Goes in which the host answered."""
        self.came: dict[str, float] = {}
        """When the first task of each job came, since the host answered last."""
        self.given_up: dict[str, int] = {}
        """Jobs that gave it up, and how many commits had been made when their letter was published."""
        self.replays: dict[str, int] = {}
        """The highest replay number of each job's tasks that came."""
        self._clock = clock
        self._earlier = (0, 0, clock())
        """Requests and refusals of earlier owners, and since when they are counted."""
        self._changed = False
        self._written_at = 0.0

    def ready_at(self, kind: str, now: float) -> float:
        """When the host may be asked for this; now or earlier: at once."""
        return max(self.breaker.retry_at, self.limiter.ready_at(kind, now))

    def expect(self, task: DidTask) -> None:
        """A task came. The first one of a replay gives the host another chance: it is asked once more before
        its job gives it up again."""
        if task.replay > self.replays.get(task.job_id, 0):
            self.replays[task.job_id] = task.replay
            self.came.pop(task.job_id, None)
            self._changed |= self.given_up.pop(task.job_id, None) is not None
        self.came.setdefault(task.job_id, self._clock())

    def heard(self, task: DidTask, ending: Ending, started_at: float) -> None:
        """Takes note of what a go says of the host."""
        now, self._changed = self._clock(), True
        word = ending.host if isinstance(ending, Failed | Retry) else "answered"
        if word == "answered":
            self.answers += 1
            self.came.clear()
            self.given_up.clear()
            self.breaker.succeeded(now)
        elif word == "refused":
            self.breaker.refused(now)
        elif word != "unknown" and (self.breaker.is_open or is_evidence(task, ending)):
            connected = word == "failed"
            self.breaker.failed(task.did, now, started_at=started_at, connected=connected)

    def paused(self, refusals: int) -> None:
        """A go ended before it began; `refusals` is how many the limiter had counted before it."""
        self._changed = True
        if self.limiter.budget.refusals > refusals:
            self.breaker.refused(self._clock())

    def is_given_up(self, job_id: str, patience: float) -> bool:
        """Whether the job's tasks are not to wait any longer: it was tried while they were here, in vain."""
        since = self.breaker.failing_since
        if since is None or self._clock() < since + patience:
            return False
        return job_id in self.given_up or self.breaker.failed_at >= self.came.get(job_id, 0.0)

    def is_due(self, now: float) -> bool:
        """Whether there is something to write, and the last time was long enough ago."""
        return self._changed and now >= self._written_at + _WRITE_SECONDS

    def state(self, *, commits: int, handed_over: bool = False) -> HostState:
        """The host as it stands. `commits` made so far: a letter published since is not in it yet."""
        now = self._clock()
        requests, refusals, since = self._earlier
        self._written_at, self._changed = now, False
        budget = self.limiter.budget
        return HostState.model_validate(
            {
                "origin": self.origin,
                "given_up": sorted(job for job, published in self.given_up.items() if published < commits),
                "requests": requests + budget.requests,
                "refusals": refusals + budget.refusals,
                "counted_since": datetime.fromtimestamp(since, UTC),
                "handed_over": handed_over,
                "updated_at": datetime.fromtimestamp(now, UTC),
            }
            | budget.fields()
            | self.breaker.fields(now)
        )

    def restore(self, state: HostState) -> None:
        """Begins with what its last owner wrote."""
        self.limiter.budget.restore(state)
        self.breaker.restore(state)
        self.given_up = dict.fromkeys(state.given_up, -1)
        self._earlier = (state.requests, state.refusals, state.counted_since.timestamp())


class Hosts:
    """All hosts of the partitions that are held. What the schedule asks, it asks here."""

    def __init__(
        self,
        known: Callable[[str], HostState | None],
        metrics: HostMetrics,
        clock: Callable[[], float],
    ) -> None:
        """`known` gives what the topic `hosts` says of an origin."""
        self._known, self._metrics, self._clock = known, metrics, clock
        self._hosts: dict[str, Host] = {}
        metrics.watch(self.by_state)

    def of(self, origin: str, partition: int) -> Host:
        """The host; when it is met for the first time, with what is known of it."""
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = Host(origin, partition, self._clock, self._metrics)
            if state := self._known(origin):
                host.restore(state)
        return host

    def expect(self, task: DidTask, partition: int) -> None:
        """A task came."""
        self.of(task.pds, partition).expect(task)

    def ready_at(self, task: DidTask, processing: Processing) -> float:
        """See stream_workers.fetch.schedule.Gate."""
        host = self._hosts.get(task.pds)
        kind = _FIRST_KIND.get(processing.strategy, "getRepo")
        return 0.0 if host is None else host.ready_at(kind, self._clock())

    def is_suspect(self, origin: str) -> bool:
        """See stream_workers.fetch.schedule.Gate."""
        host = self._hosts.get(origin)
        return host is None or host.breaker.is_suspect

    def letter_published(self, task: DidTask, commits: int) -> None:
        """A job gave the task's host up, and its dead letter is in the transaction after so many commits."""
        host = self._hosts.get(task.pds)
        if host is not None and task.job_id in host.given_up:
            host.given_up[task.job_id] = commits

    def failing(self) -> list[Host]:
        """Those without a success since their first failure."""
        return [host for host in self._hosts.values() if host.breaker.failing_since is not None]

    def due(self, now: float) -> Iterator[Host]:
        """Those whose state is to be written now."""
        return (host for host in self._hosts.values() if host.is_due(now))

    def forget(self, partitions: Iterable[int]) -> list[Host]:
        """The hosts of partitions that go, for their last word; their next owner knows more from then on."""
        gone = [host for host in self._hosts.values() if host.partition in set(partitions)]
        for host in gone:
            del self._hosts[host.origin]
        return gone

    def by_state(self) -> dict[BreakerState, int]:
        """How many hosts there are, by their breakers."""
        now = self._clock()
        found: Counter[BreakerState] = Counter({"closed": 0, "open": 0, "half_open": 0})
        found.update(host.breaker.state(now) for host in list(self._hosts.values()))
        return dict(found)


def is_evidence(task: DidTask, ending: Ending) -> bool:
    """Whether a failure of the host tells something new about it.

    No connection can't be about one account; one that failed here before says nothing new by failing again.
    """
    if not isinstance(ending, Failed | Retry):
        return False
    return ending.host == "never_connected" or (ending.host == "failed" and task.attempt == 1)
