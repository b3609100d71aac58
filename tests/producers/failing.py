"""What workers and the tracker would do for jobs whose accounts fail and are replayed, in a few lines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from messaging.clients import transactional_producer
from messaging.topics import end_offsets
from messaging.transactions import TransactionalPublisher
from schemas.deadletter import HOST_GIVEN_UP, DeadLetter, LetterId
from schemas.dids import DidTask
from schemas.job_status import Counts, Ledger
from schemas.outcomes import JobEvent, RepoOutcome
from schemas.replays import Replay
from stream_workers.tracker.book import Book, enter
from tests.producers.deployment import Deployment, until


class Workers:
    """The fetch workers of a deployment with one partition of `deadletter` and of `outcomes`."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment, self._names = deployment, deployment.names
        kafka = deployment.settings.kafka
        topics = (self._names.outcomes, self._names.deadletter)
        self._publisher = TransactionalPublisher(
            transactional_producer(kafka, f"{self._names.worker_group}.0"), dict.fromkeys(topics, 1)
        )
        self._publisher.open()
        self._done: set[tuple[str, str, int]] = set()

    def left(self, job_id: str) -> list[DidTask]:
        """Tasks that nothing has become of yet."""
        return [t for t in self._deployment.tasks(job_id) if (job_id, t.did, t.replay) not in self._done]

    def complete(self, job_id: str) -> None:
        """Everything left is fetched."""
        for task in self.left(job_id):
            self._end(task, "completed", records={"app.bsky.feed.post": 2})
        self._commit()

    def fail(self, tasks: Iterable[DidTask], *, detail: str = "") -> list[LetterId]:
        """These fail for good, each with a dead letter; the letters' ids, in the order of the tasks."""
        tasks, start = list(tasks), self._end_of_letters()
        for task in tasks:
            letter = self._end(task, "failed", error_type="network_error", reason="HostUnreachable")
            whole = letter.model_copy(update={"payload": task.encode().decode(), "detail": detail})
            self._publisher.publish(self._names.deadletter, task.did, whole.encode())
        self._commit()
        return [LetterId(0, start + number) for number in range(len(tasks))]

    def give_up(self, tasks: list[DidTask], *, letter: bool = True) -> LetterId:
        """A host is given up: an outcome for each of its tasks, and one letter for all."""
        at = self._end_of_letters()
        for task in tasks:
            known = self._end(task, "failed", error_type="network_error", reason=HOST_GIVEN_UP)
        if letter:
            payload = '{"accounts":1,"failing_since":"2026-01-31T12:00:00Z"}'
            whole = known.model_copy(update={"did": None, "detail": "silent for 6 h", "payload": payload})
            self._publisher.publish(self._names.deadletter, known.host or "", whole.encode())
        self._commit()
        return LetterId(0, at)

    def put(self, letter: DeadLetter) -> LetterId:
        """Any letter."""
        at = self._end_of_letters()
        self._publisher.publish(self._names.deadletter, "key", letter.encode())
        self._commit()
        return LetterId(0, at)

    def _end(self, task: DidTask, status: str, **figures: object) -> DeadLetter:
        self._done.add((task.job_id, task.did, task.replay))
        known = {"job_id": task.job_id, "did": task.did, "host": task.pds}
        outcome = RepoOutcome.model_validate(
            known | {"status": status, "replay": task.replay, "replaces": task.replaces} | figures
        )
        self._publisher.publish(self._names.outcomes, task.job_id, outcome.encode())
        return DeadLetter(
            stage="fetch",
            error_type=outcome.error_type or "fetch_failed",
            reason=outcome.reason or "",
            job_id=task.job_id,
            did=task.did,
            host=task.pds,
            replay=task.replay,
            at=datetime.now(UTC),
        )

    def _commit(self) -> None:
        self._publisher.commit()
        admin = self._deployment.admin
        for topic in (self._names.outcomes, self._names.deadletter):  # a commit's markers come a moment later
            until(lambda t=topic: end_offsets(admin, t, [0]) == end_offsets(admin, t, [0], committed=False))

    def _end_of_letters(self) -> int:
        return end_offsets(self._deployment.admin, self._names.deadletter, [0], committed=False)[0]


def replay(deployment: Deployment, job_id: str, letters: Iterable[LetterId | str]) -> None:
    """The command."""
    deployment.say(job_id, {"action": "replay", "letters": [str(letter) for letter in letters]})


def ledger(deployment: Deployment, job_id: str) -> Ledger:
    """A job's ledger by all that lies in `outcomes`."""
    return _book(deployment, job_id).ledger


def counts_by_host(deployment: Deployment, job_id: str) -> dict[str, Counts]:
    """The same by host."""
    return {host: page.counts for host, page in _book(deployment, job_id).hosts.items()}


def _book(deployment: Deployment, job_id: str) -> Book:
    book = Book(Ledger(job_id=job_id))
    for outcome in deployment.outcomes():
        if outcome.job_id == job_id:
            enter(book, outcome, datetime.now(UTC))
    return book


def answers(deployment: Deployment, job_id: str) -> list[JobEvent]:
    """What was told of replays."""
    events = [o for o in deployment.outcomes() if isinstance(o, JobEvent) and o.job_id == job_id]
    return [event for event in events if event.event == "replayed" or event.refused]


def traces(deployment: Deployment) -> dict[str, Replay]:
    """What stands in `replays` of each letter."""
    found = deployment.read(deployment.names.replays)
    return {key: Replay.decode(value) for key, value in found if value is not None}
