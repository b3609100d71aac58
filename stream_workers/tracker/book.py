"""The books of one job: outcomes in, counts out. Pure; each outcome must be entered once.

That it is once is the transaction's doing: the books are committed with the offsets of what they counted.
A replayed account stays counted as failed until its new outcome takes the old one's place, so that the counts
always add up to the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from atp.tid import is_tid
from schemas.job_status import OTHERS, UNRESOLVED, JobHost, Ledger, host_key
from schemas.outcomes import JobEvent, PlanOutcome, Replaced, RepoOutcome
from stream_workers.tracker.counting import (
    LONGEST_NAME,
    MOST_HOSTS,
    MOST_REASONS,
    MOST_TYPES,
    MOST_TYPES_OF_HOST,
    UNKNOWN,
    add,
    count,
    take_back,
    uncount,
)
from stream_workers.tracker.status import has_ended, status_name
from stream_workers.tracker.telling import (
    LONGEST_JOB_DETAIL,
    note,
    note_command,
    note_failure,
    numbered,
    told,
)


@dataclass
class Book:
    """A job's ledger, and a page for each of its hosts."""

    ledger: Ledger
    hosts: dict[str, JobHost] = field(default_factory=dict)
    _turned: set[str] = field(default_factory=set)
    """Hosts whose pages are not as they were written last."""

    def page(self, host: str | None) -> JobHost:
        """The page of a host, to be written on; beyond the first so many, hosts share one."""
        name = self._name(host)
        if name not in self.hosts:
            self.hosts[name] = JobHost(job_id=self.ledger.job_id, host=name)
        self._turned.add(name)
        return self.hosts[name]

    def known_page(self, host: str | None) -> JobHost | None:
        """The page that a host is counted on, to be written on, if there is one."""
        return self.page(host) if self._name(host) in self.hosts else None

    def changes(self) -> Iterator[tuple[str, JobHost | None]]:
        """The key and the page of every host that changed; None for one that was given up."""
        for host in sorted(self._turned):
            yield host_key(self.ledger.job_id, host), self.hosts.get(host)

    def written(self) -> None:
        """All changes are committed."""
        self._turned.clear()

    def forget_hosts(self) -> None:
        """Gives all pages up."""
        self._turned |= self.hosts.keys()
        self.hosts.clear()

    def _name(self, host: str | None) -> str:
        name = host or UNRESOLVED
        if name in self.hosts:
            return name
        return name if len(self.hosts) < MOST_HOSTS and len(name) <= LONGEST_NAME else OTHERS


def books_of(ledgers: Iterable[Ledger], pages: Iterable[JobHost]) -> dict[str, Book]:
    """The books by job, from what was written last. Pages of jobs without a ledger are passed over."""
    books = {ledger.job_id: Book(ledger) for ledger in ledgers}
    for page in pages:
        if (book := books.get(page.job_id)) is not None:
            book.hosts[page.host] = page
    return books


def enter(book: Book, outcome: RepoOutcome | PlanOutcome | JobEvent, at: datetime) -> bool:
    """Enters one outcome, written at `at`, into the book, in place; False if it changes nothing."""
    ledger = book.ledger
    match outcome:
        case RepoOutcome() if outcome.replaces is not None and not ledger.replaying:
            return False  # none was announced that has not come: a repeat, or not the planner's doing
        case RepoOutcome():
            _progress(ledger, at)
            _enter_repo(book, outcome, at)
        case PlanOutcome() if ledger.finished_at is None:
            _progress(ledger, at)
            _enter_plan(book, outcome, at)
        case JobEvent(event="ignored" | "noted"):
            if ledger.state == "unknown":
                return False
            note_command(ledger, outcome, at)
            return True
        case JobEvent(event="replayed"):
            _enter_replay(ledger, outcome, at)
        case JobEvent() if ledger.finished_at is None or ledger.state == "rejected":
            _enter_event(ledger, outcome, at)
        case _:
            return False  # a job that has ended stays as it is
    if not isinstance(outcome, JobEvent) and (ledger.state != "cancelled" or ledger.planned):
        ledger.started_at = ledger.started_at or at
    if ledger.finished_at is None and has_ended(ledger):
        ledger.finished_at = at
        ledger.stale_since = None
        if ledger.state != "rejected":
            note(ledger, "ended", at, status_name(ledger))
    return True


def _progress(ledger: Ledger, at: datetime) -> None:
    ledger.progressed_at = max(ledger.progressed_at or at, at)
    if ledger.stale_since is not None:
        ledger.stale_since = None
        note(ledger, "going_on", at)


def _enter_repo(book: Book, outcome: RepoOutcome, at: datetime) -> None:
    ledger, page = book.ledger, book.page(outcome.host)
    count(ledger.totals, outcome, MOST_TYPES)
    count(page.counts, outcome, MOST_TYPES_OF_HOST)
    if outcome.status == "retrying":
        ledger.totals.retrying += outcome.attempt == 1
        if outcome.due_at is not None:
            ledger.due_at = max(ledger.due_at or outcome.due_at, outcome.due_at)
    elif outcome.attempt > 1:
        ledger.totals.retrying = max(0, ledger.totals.retrying - 1)
    if outcome.status in ("skipped", "unavailable", "failed"):
        add(ledger.reasons, {outcome.reason or UNKNOWN: 1}, MOST_REASONS)
    note_failure(ledger, outcome, at)
    if outcome.rev and is_tid(outcome.rev):
        ledger.newest_rev = max(ledger.newest_rev or "", outcome.rev)
        page.newest_rev = max(page.newest_rev or "", outcome.rev)
    if outcome.replaces is not None and outcome.status != "retrying":
        _take_back(book, outcome.replaces)


def _take_back(book: Book, replaced: Replaced) -> None:
    """The account has ended again: its former end counts no more. Its attempts did fail, and stay counted."""
    ledger, page = book.ledger, book.known_page(replaced.host)
    ledger.replaying -= 1
    uncount(ledger.totals, replaced)
    if page is not None:  # or its counts were given up long after the job's end
        uncount(page.counts, replaced)
    take_back(ledger.reasons, replaced.reason or UNKNOWN)


def _enter_plan(book: Book, outcome: PlanOutcome, at: datetime) -> None:
    ledger = book.ledger
    ledger.planned = outcome.planned
    ledger.duplicates = outcome.duplicates
    ledger.left_out.clear()
    add(ledger.left_out, outcome.left_out, MOST_REASONS)
    add(ledger.resolved, outcome.resolved, MOST_REASONS)
    for host, accounts in outcome.hosts.items():
        book.page(host).planned += accounts
    if outcome.finished and not ledger.plan_finished and ledger.state != "cancelled":
        note(ledger, "planned", at, numbered(outcome.planned, "account"))
    ledger.plan_finished = ledger.plan_finished or outcome.finished


def _enter_replay(ledger: Ledger, event: JobEvent, at: datetime) -> None:
    """The job goes on, if only until these accounts have ended again."""
    ledger.replaying += event.count or 0
    ledger.replayed += event.count or 0
    ledger.gathering = event.gathering or 0
    ledger.awaited_since, ledger.stale_since = at, None
    note_command(ledger, event, at)
    if not ledger.forced:
        ledger.finished_at = None


def _enter_event(ledger: Ledger, event: JobEvent, at: datetime) -> None:
    detail = event.detail and told(event.detail, LONGEST_JOB_DETAIL)
    name = event.name and told(event.name)
    ledger.awaited_since, ledger.stale_since = at, None
    note_command(ledger, event, at)
    match event.event:
        case "submitted":
            ledger.state, ledger.name, ledger.submitted_at = "active", name, event.at
            ledger.detail = ledger.finished_at = None
        case "paused" | "resumed" if ledger.state == "source_failed":
            pass  # what is left of the job runs on, or not; it ends in error all the same
        case "paused":
            ledger.state = "paused"
        case "resumed":
            ledger.state = "active"
        case "cancelled":
            ledger.state, ledger.cancelled_at = "cancelled", ledger.cancelled_at or at
            ledger.forced = event.forced
            ledger.plan_finished = ledger.plan_finished or event.forced
        case "rejected":
            ledger.state, ledger.detail, ledger.name = "rejected", detail, name
        case "source_failed":
            ledger.state, ledger.detail, ledger.plan_finished = "source_failed", detail, True
        case "scheduled":
            ledger.scheduled, ledger.detail = True, detail
        case _:
            pass  # ignored, noted and replayed, see `enter`
