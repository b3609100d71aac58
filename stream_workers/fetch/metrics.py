"""What a fetch worker can be asked while it works: what tasks end as, how long they take, what waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import assert_never

from prometheus_client import CollectorRegistry

from messaging.instruments import GroupMetrics, HttpMetrics, TransactionMetrics
from messaging.metrics import LONG_SECONDS, CounterOf, GaugeOf, HistogramOf, Readings, Section
from messaging.task_stream import InFlight
from schemas.hosts import BreakerState
from stream_workers.fetch.ending import (
    Cancelled,
    Ending,
    Failed,
    Fetched,
    GivenUp,
    Requeued,
    Retry,
    Unchanged,
    Unreadable,
)

TASKS = CounterOf(
    "skyfill_tasks_total",
    "Goes at tasks by ending: completed, unchanged, unavailable, failed, retrying, requeued, cancelled, "
    "unreadable.",
    "Those of a transaction that is aborted count too, and come again: exact counts are in the job's status. "
    "`failed` has dead letters with the reasons; `requeued` goes up while a job is paused.",
    ("ending",),
)
ERRORS = CounterOf(
    "skyfill_task_errors_total",
    "Goes that brought no repository, by error type.",
    "network_error and timeout_error: hosts are down, or this machine's network is. verification_failed: a "
    "host serves what its accounts did not sign. processing_failed is a fault of skyfill's own.",
    ("error_type",),
)
RECORDS = CounterOf(
    "skyfill_records_total",
    "Records of fetched repositories: `published`, or the reason why they were left out.",
    "Its rate is the throughput. A rise of `invalid` or `too_large` has a dead letter for each.",
    ("result",),
)
KEPT = CounterOf(
    "skyfill_kept_downloads_total",
    "Downloads that were proven but not published, since their partition went away: `used` when it came "
    "back, or `dropped`.",
    "Moves only when workers come and go.",
    ("result",),
)
REPO_BYTES = CounterOf(
    "skyfill_repo_bytes_total",
    "Bytes of the repositories that were downloaded and proven.",
    "Divided by the records: what a record costs in traffic. Far fewer bytes than the network carries: "
    "downloads that break off and begin again.",
)
REPO_SECONDS = HistogramOf(
    "skyfill_repo_seconds",
    "One go at a task: waiting for the limiter, download, proof; by what it brought.",
    "Mostly the limiter's waiting where a host's budget is the bound. A rise with a steady getRepo latency: "
    "the reading thread is the bottleneck, add workers.",
    ("result",),
    buckets=LONG_SECONDS,
)
IN_FLIGHT = GaugeOf(
    "skyfill_tasks_in_flight",
    "Tasks that were read and are not finished, waiting ones included.",
    "At the window's size times the partitions, reading waits for old tasks to finish.",
)
RUNNING = GaugeOf(
    "skyfill_tasks_running",
    "Tasks that are being fetched or settled now.",
    "Low beside many in flight: the limiters or `max_concurrent_pds` hold back.",
)
OLDEST = GaugeOf(
    "skyfill_oldest_inflight_seconds",
    "Age of the oldest unfinished task; absent while there is none. Known to a batch of messages.",
    "A giant repository or a task waiting for its retry may hold it up for long, and the committed offset "
    "with it, without any harm. Growing for hours beside a standstill: look at the worker's log.",
)
BEYOND = GaugeOf(
    "skyfill_completed_beyond_commit",
    "Offsets that are finished and lie above the committed one.",
    "Work that the consumer lag still shows as to do. It is safe: it travels as the offset's metadata.",
)
FULL = GaugeOf(
    "skyfill_windows_full",
    "Partitions that are not read on until older tasks finish.",
    "Above 0 for long: one task holds up its partition; see skyfill_oldest_inflight_seconds.",
)
DOWNLOAD_BYTES = GaugeOf(
    "skyfill_download_buffer_bytes",
    "Memory that downloads hold now, of worker.memory_bytes.",
    "At the budget, further downloads go to temporary files and new ones wait.",
)
LIMITER_SECONDS = CounterOf(
    "skyfill_limiter_seconds_total",
    "Time that requests waited for a turn at their host, summed over requests.",
    "Its rate is how many requests wait at any time: the hosts' budgets, or `requests_per_second`, are the "
    "bound. Long pauses are not in it: there tasks wait without a place, see skyfill_tasks_in_flight.",
)
BUDGET_USED = HistogramOf(
    "skyfill_host_budget_used_ratio",
    "Share of a host's budget that was used, of each window that ended, advertised and learnt ones.",
    "Near 1: hosts are the bound, and nothing is left to gain. Low with tasks waiting: this worker, or the "
    "job's own limits.",
    buckets=(0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.97, 0.98, 0.99, 1.0),
)
REFUSALS = CounterOf(
    "skyfill_host_refusals_total",
    "Requests that were answered 429.",
    "A few while a host that advertises nothing is learnt, then under one in a thousand. More: somebody else "
    "asks from this address, or a host changes its budget.",
)
HOSTS = GaugeOf(
    "skyfill_hosts",
    "Hosts that this worker has met, by breaker: closed, open, half_open.",
    "Many open at once: look at this machine's own network first.",
    ("breaker",),
)
PARKED = CounterOf(
    "skyfill_tasks_parked_total",
    "Tasks sent to the retry topic for a while, without spending an attempt: a closed host filled a window.",
    "Growing: hosts that are down or spent hold far more tasks than others; these are read on meanwhile.",
)
GIVEN_UP = CounterOf(
    "skyfill_hosts_given_up_total",
    "Hosts given up for a job: no success for host_give_up_seconds.",
    "Each has one dead letter, HostGivenUp, that names host and job.",
)
SECTION = Section(
    "Fetch worker",
    "Exported by `skyfill worker`.",
    (
        TASKS,
        ERRORS,
        RECORDS,
        KEPT,
        REPO_BYTES,
        REPO_SECONDS,
        IN_FLIGHT,
        RUNNING,
        OLDEST,
        BEYOND,
        FULL,
        DOWNLOAD_BYTES,
        LIMITER_SECONDS,
        BUDGET_USED,
        REFUSALS,
        HOSTS,
        PARKED,
        GIVEN_UP,
    ),
)


class HostMetrics:
    """Of all hosts of one worker."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._seconds = LIMITER_SECONDS.make(registry)
        self._used = BUDGET_USED.make(registry)
        self._refusals = REFUSALS.make(registry)
        self._parked = PARKED.make(registry)
        self._given_up = GIVEN_UP.make(registry)
        self._readings = Readings(registry)

    def watch(self, by_breaker: Callable[[], Mapping[BreakerState, int]]) -> None:
        """It is asked at every scrape, from another thread."""
        self._readings.show(HOSTS, lambda: {(state,): count for state, count in by_breaker().items()})

    def waited(self, seconds: float) -> None:
        """A request had its turn after so long."""
        self._seconds.inc(seconds)

    def spent(self, share: float) -> None:
        """A window has ended."""
        self._used.observe(share)

    def refused(self) -> None:
        """A 429."""
        self._refusals.inc()

    def parked(self) -> None:
        """A task goes to the retry topic for a while."""
        self._parked.inc()

    def given_up(self) -> None:
        """A job no longer waits for a host."""
        self._given_up.inc()


class FetchMetrics:
    """Of one worker. `watch` once it is at work; `settled` from any thread, one at a time."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.transactions = TransactionMetrics(registry)
        self.group = GroupMetrics(registry)
        self.http = HttpMetrics(registry)
        self.hosts = HostMetrics(registry)
        self.in_flight: InFlight | None = None
        """As the consumer's thread saw it last; None: not yet."""
        self._tasks = TASKS.make(registry)
        self._errors = ERRORS.make(registry)
        self._records = RECORDS.make(registry)
        self._bytes = REPO_BYTES.make(registry)
        self._kept = KEPT.make(registry)
        for result in ("used", "dropped"):
            self._kept.labels(result)
        self._seconds = REPO_SECONDS.make(registry)
        self._readings = Readings(registry)
        for metric, part in ((IN_FLIGHT, "tasks"), (BEYOND, "beyond_commit"), (FULL, "full")):
            self._readings.show_value(metric, self._part(part))
        self._readings.show_value(OLDEST, self._oldest)

    def kept(self, result: str) -> None:
        """What became of a download that was kept: `used` or `dropped`."""
        self._kept.labels(result).inc()

    def watch(self, running: Callable[[], int], download_bytes: Callable[[], int]) -> None:
        """Both are asked at every scrape, from another thread."""
        self._readings.show_value(RUNNING, running)
        self._readings.show_value(DOWNLOAD_BYTES, download_bytes)

    def settled(self, ending: Ending) -> None:
        """A task was published and finished with this."""
        match ending:
            case Fetched():
                self._tasks.labels("completed").inc()
                self._seconds.labels("completed").observe(ending.seconds)
                self._bytes.inc(ending.size)
                self._records.labels("published").inc(sum(ending.events.records.values()))
                for reason, records in ending.events.dropped.items():
                    self._records.labels(reason).inc(records)
            case Unchanged():
                self._tasks.labels("unchanged").inc()
                self._seconds.labels("none").observe(ending.seconds)
            case Failed() | Retry() | GivenUp():
                self._tasks.labels(_status(ending)).inc()
                self._errors.labels(ending.error_type).inc()
                self._seconds.labels("none").observe(ending.seconds)
            case Requeued() | Cancelled() | Unreadable():
                self._tasks.labels(type(ending).__name__.lower()).inc()
            case _:
                assert_never(ending)

    def _part(self, name: str) -> Callable[[], float | None]:
        def read() -> float | None:
            return None if self.in_flight is None else float(getattr(self.in_flight, name))

        return read

    def _oldest(self) -> float | None:
        since = self.in_flight.oldest_since if self.in_flight else None
        return None if since is None else time.monotonic() - since


def _status(ending: Failed | Retry | GivenUp) -> str:
    if isinstance(ending, Failed):
        return ending.status
    return "retrying" if isinstance(ending, Retry) else "failed"
