"""Instruments that processes of several kinds have: transactions, the group they are in, HTTP requests.

Each class is made for one registry at the process's start; made for none, it counts for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry

from messaging.metrics import CounterOf, GaugeOf, HistogramOf, Readings, Section

TRANSACTIONS = CounterOf(
    "skyfill_transactions_total",
    "Transactions of this process by their end.",
    "`refused` ends the process, so it is mostly seen as a restart. `aborted` grows where partitions move "
    "while work is open; a steady growth means that the group never comes to rest. A standstill of "
    "`committed` beside work in flight: look at the transaction's age and the broker.",
    ("producer", "result"),
)
TRANSACTION_SECONDS = HistogramOf(
    "skyfill_transaction_seconds",
    "From the first message of a transaction to its commit.",
    "Normally the commit interval. Near `kafka.transaction_timeout_seconds` the broker is about to abort it: "
    "the broker is slow, or one repository takes too long to publish.",
    ("producer",),
)
COMMIT_SECONDS = HistogramOf(
    "skyfill_transaction_commit_seconds",
    "Time that sending the offsets and committing took.",
    "The broker's share of a commit. A rise shows a slow broker disk, or a queue of unsent messages that a "
    "commit has to wait for.",
    ("producer",),
)
OPEN_SECONDS = GaugeOf(
    "skyfill_transaction_open_seconds",
    "Age of the open transaction; absent while none is open.",
    "Read-committed readers wait for it: an age beyond a few commit intervals holds up every sink.",
    ("producer",),
)
MESSAGES = CounterOf(
    "skyfill_messages_published_total",
    "Messages handed to the producer, by topic.",
    "Those of a transaction that is aborted count too. Where it stands still while tasks are in flight, "
    "nothing finishes.",
    ("producer", "topic"),
)
QUEUE = GaugeOf(
    "skyfill_produce_queue_messages",
    "Messages that the broker has not acknowledged yet.",
    "Near 50,000 the producer is full and publishing waits: the broker or the network to it is the "
    "bottleneck.",
    ("producer",),
)
LAG = GaugeOf(
    "skyfill_consumer_lag_messages",
    "Messages of a partition of this process that it has not read yet; absent where that is not known.",
    "0 if the partition was read to its committed end at the last poll, else the distance to all that was "
    "written, markers included. It says nothing of what is read and unfinished: `skyfill lag` has the "
    "committed offsets. It grows where more comes than this process takes: add processes of this kind.",
    ("topic", "partition"),
)
PARTITIONS = GaugeOf(
    "skyfill_consumer_partitions",
    "Partitions that this process holds.",
    "0 for long: there are more processes than partitions, or the group rebalances again and again.",
    ("topic",),
)
REQUESTS = CounterOf(
    "skyfill_http_requests_total",
    "HTTP requests by endpoint and outcome: the status, or the kind of the error.",
    "429: the limiter is learning a host's budget. HostTimeout, HostUnreachable: hosts are down or this "
    "machine's network is. 5xx: hosts are overloaded. `cancelled` requests were broken off by this process.",
    ("endpoint", "outcome"),
)
IN_FLIGHT = GaugeOf(
    "skyfill_http_requests_in_flight",
    "Requests that are sent and whose answer is not read to its end.",
    "A standstill at a high number: hosts that answer slowly or not at all, or a busy event loop. 0 beside "
    "waiting tasks: the limiters hold back, see their hosts' budgets.",
    ("endpoint",),
)
ANSWER_SECONDS = HistogramOf(
    "skyfill_http_answer_seconds",
    "From a request to the head of its answer.",
    "The hosts' own latency, redirects and connecting included. A rise over all endpoints is this machine's "
    "network or a busy event loop; at one endpoint it is the hosts.",
    ("endpoint",),
)
REQUEST_SECONDS = HistogramOf(
    "skyfill_http_request_seconds",
    "From a request to the end of its answer's body, or to its error.",
    "For getRepo this is the whole download. Far above the answer's time: bandwidth, or large repositories.",
    ("endpoint",),
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0),
)
RESOLUTIONS = CounterOf(
    "skyfill_resolutions_total",
    "Accounts asked for, by what answered: `cache`, `mirror`, `request`, or `shared` for a request that "
    "another asker had made.",
    "`cache` divided by all is the cache's hit rate, `mirror` divided by all the mirror's. Many requests "
    "beside a mirror: it is behind (`skyfill plc sync`), or the source names handles and did:web.",
    ("answered_by",),
)
MIRROR_AGE = GaugeOf(
    "skyfill_plc_mirror_age_seconds",
    "How far the mirror of the PLC directory is behind; absent without a mirror.",
    "Above 30 days it is not asked. Each account that moved or changed its key meanwhile costs a failed "
    "request and one to the directory: `skyfill plc sync`, or `--follow` beside long jobs.",
)

TRANSACTION_SECTION = Section(
    "Transactions",
    "Exported by the producer, the workers and the tracker. `producer` is `main`, or `large` for the "
    "worker's transactions of single large repositories.",
    (TRANSACTIONS, TRANSACTION_SECONDS, COMMIT_SECONDS, OPEN_SECONDS, MESSAGES, QUEUE),
)
GROUP_SECTION = Section(
    "Reading",
    "Exported by every process that is a member of a consumer group: producer, workers, tracker, sinks.",
    (LAG, PARTITIONS),
)
HTTP_SECTION = Section(
    "HTTP",
    "Exported by the producer and the workers. `endpoint` is the XRPC method without its namespace, `plc` "
    "for the directory, or the well-known file.",
    (REQUESTS, IN_FLIGHT, ANSWER_SECONDS, REQUEST_SECONDS),
)
RESOLVER_SECTION = Section(
    "Resolving",
    "Exported by the producer.",
    (RESOLUTIONS, MIRROR_AGE),
)


class TransactionMetrics:
    """Of all transactional producers of a process; `of` gives those of one."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._ends = TRANSACTIONS.make(registry)
        self._seconds = TRANSACTION_SECONDS.make(registry)
        self._commits = COMMIT_SECONDS.make(registry)
        self._messages = MESSAGES.make(registry)
        self._queues: dict[tuple[str, ...], Callable[[], float]] = {}
        self._open: dict[tuple[str, ...], float] = {}
        readings = Readings(registry)
        readings.show(QUEUE, lambda: {key: queued() for key, queued in self._queues.copy().items()})
        readings.show(OPEN_SECONDS, self._ages)

    def of(self, producer: str) -> ProducerMetrics:
        """The instruments of the producer that is called so."""
        return ProducerMetrics(self, producer)

    def _ages(self) -> Mapping[tuple[str, ...], float]:
        now = time.monotonic()
        return {key: now - since for key, since in self._open.copy().items()}


class ProducerMetrics:
    """Of one transactional producer. Life: `watch` once, then `began` and `ended` by turns."""

    def __init__(self, all_of_them: TransactionMetrics, producer: str) -> None:
        self._key, self._all = (producer,), all_of_them
        self._ends = {
            result: all_of_them._ends.labels(producer, result)
            for result in ("committed", "aborted", "refused")
        }
        self._seconds = all_of_them._seconds.labels(producer)
        self._commits = all_of_them._commits.labels(producer)

    def watch(self, queued: Callable[[], float]) -> None:
        """`queued` is asked at every scrape, from another thread."""
        self._all._queues[self._key] = queued

    def began(self) -> None:
        """A transaction is open from now on."""
        self._all._open[self._key] = time.monotonic()

    def published(self, topic: str, messages: int) -> None:
        """So many more messages."""
        self._all._messages.labels(*self._key, topic).inc(messages)

    def ended(self, result: str, commit_seconds: float | None = None) -> None:
        """`committed`, `aborted` or `refused`; the time that the commit took, if it was one."""
        since = self._all._open.pop(self._key, None)
        self._ends[result].inc()
        if commit_seconds is not None:
            self._commits.observe(commit_seconds)
            if since is not None:
                self._seconds.observe(time.monotonic() - since)


class GroupMetrics:
    """Of a process's place in its group."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.lag: Mapping[tuple[str, int], int] = {}
        """(topic, partition) -> messages, replaced as a whole by the thread that polls."""
        self.held: Mapping[str, int] = {}
        """topic -> partitions held, likewise."""
        readings = Readings(registry)
        readings.show(LAG, lambda: {(topic, str(p)): lag for (topic, p), lag in self.lag.items()})
        readings.show(PARTITIONS, lambda: {(topic,): held for topic, held in self.held.items()})


class HttpMetrics:
    """See atp.xrpc.Observer."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._requests = REQUESTS.make(registry)
        self._in_flight = IN_FLIGHT.make(registry)
        self._answers = ANSWER_SECONDS.make(registry)
        self._whole = REQUEST_SECONDS.make(registry)

    def began(self, endpoint: str) -> None:
        """A request goes out."""
        self._in_flight.labels(endpoint).inc()

    def answered(self, endpoint: str, seconds: float) -> None:
        """The head of an answer is there."""
        self._answers.labels(endpoint).observe(seconds)

    def ended(self, endpoint: str, outcome: str, seconds: float) -> None:
        """The request is over."""
        self._in_flight.labels(endpoint).dec()
        self._requests.labels(endpoint, outcome).inc()
        self._whole.labels(endpoint).observe(seconds)


class ResolverMetrics:
    """See atp.identity.Observer."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._resolutions = RESOLUTIONS.make(registry)
        self._readings = Readings(registry)

    def resolved(self, answered_by: str) -> None:
        """An account was asked for."""
        self._resolutions.labels(answered_by).inc()

    def watch(self, mirror_age: Callable[[], float | None]) -> None:
        """Seconds, asked at every scrape, from another thread."""
        self._readings.show_value(MIRROR_AGE, mirror_age)
