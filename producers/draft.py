"""A chunk in the making: pages of entries go in, and each account comes out once, as a task or an outcome.

What is decided here is written to the table of accounts met before the chunk is published: a draft that is
dropped has changed nothing that counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime

from atp.identity import Identity
from producers.chunk import Chunk, listed_as_gone, out_of_scope, shortened, task_of, unresolved
from producers.resolve import Resolution, account_of
from producers.seen import SeenAccounts
from producers.sources.base import Entry, Page
from schemas.deadletter import DeadLetter
from schemas.dids import DidTask
from schemas.outcomes import RepoOutcome
from schemas.plans import PlanCheckpoint
from schemas.scope import ScopeJudge


class Draft:
    """Life: `take` each page, then `settle` what was resolved of them, then `chunk`."""

    def __init__(
        self,
        before: PlanCheckpoint,
        seen: SeenAccounts,
        scope: ScopeJudge,
        now: Callable[[], datetime],
        notes: Iterable[str] = (),
    ) -> None:
        """A draft of the chunk after the checkpoint `before`. `notes` are told to the user beside it."""
        self._before, self._seen, self._scope, self._now = before, seen, scope, now
        self._job_id = before.job_id
        self.accounts = 0
        """Entries taken that were not met before: what there is to resolve or to tell of."""
        self.resolved = Counter[str]()
        """How those were resolved that had to be."""
        self._cursor = before.cursor
        self._taken: set[object] = set()
        self._met: set[str] = set()
        self._tasks: list[DidTask] = []
        self._outcomes: list[RepoOutcome] = []
        self._letters: list[DeadLetter] = []
        self._notes = list(notes)
        self._duplicates = 0
        self._left_out = Counter(before.left_out)

    def take(self, page: Page) -> list[Entry]:
        """The entries of a page that have to be resolved; tells of the others at once."""
        self._cursor = page.cursor
        self._left_out.update(page.left_out)
        self._notes += map(shortened, page.notes)
        fresh = []
        for entry in page.entries:
            account = account_of(entry.account)
            # A host may list what another one's row turns out to be right about: both have to be looked at.
            key = account if entry.host is None else (account, entry.host)
            if key not in self._taken and account not in self._met:
                self._taken.add(key)
                fresh.append(entry if account == entry.account else entry._replace(account=account))
        known = self._seen.known([entry.account for entry in fresh])
        unmet = [entry for entry in fresh if entry.account not in known]
        self._duplicates += len(page.entries) - len(unmet)
        self.accounts += len(unmet)
        if self._scope.unlimited:
            return [entry for entry in unmet if entry.gone is None or not self._told_as_gone(entry)]
        return [entry for entry in unmet if not (self._told_as_outside(entry) or self._told_as_gone(entry))]

    def settle(self, resolutions: Iterable[Resolution]) -> None:
        """Makes tasks and outcomes of what was resolved, in its order."""
        resolutions = list(resolutions)
        known = self._seen.known(
            [
                answer.did
                for entry, answer in resolutions
                if isinstance(answer, Identity) and answer.did != entry.account
            ]
        )
        for entry, answer in resolutions:
            if not isinstance(answer, Identity):
                if self._is_new(entry.account):
                    outcome, letter = unresolved(self._job_id, entry, answer, self._now())
                    self._outcomes.append(outcome)
                    self._letters += [letter] if letter else []
            elif entry.host is not None and entry.host != answer.pds:
                self._left_out["moved"] += 1
            else:
                self._settle_account(entry, answer, known)

    def chunk(self, *, finished: bool, failure: str | None = None) -> Chunk:
        """All of it as the next chunk; its accounts are noted as met by it."""
        number = self._before.chunk + 1
        if self._met:
            self._seen.add(self._met, number)
        checkpoint = PlanCheckpoint(
            job_id=self._job_id,
            cursor=self._cursor,
            chunk=number,
            seen=self._seen.name,
            planned=self._before.planned + len(self._tasks) + len(self._outcomes),
            duplicates=self._before.duplicates + self._duplicates,
            left_out=dict(self._left_out),
            finished=finished,
        )
        return Chunk(
            self._tasks, self._outcomes, self._letters, checkpoint, failure, self._notes, dict(self.resolved)
        )

    def _settle_account(self, entry: Entry, identity: Identity, known: set[str]) -> None:
        did = identity.did
        if did != entry.account:
            self._met.add(entry.account)  # the handle, too: it need not be resolved again
        if did in known:
            self._duplicates += 1
        elif not self._is_new(did):
            return
        elif not self._scope.unlimited and self._scope.excludes(did, identity.pds):
            self._outcomes.append(out_of_scope(self._job_id, did, identity))
        elif entry.gone is not None:
            self._outcomes.append(listed_as_gone(self._job_id, entry, identity))
        else:
            self._tasks.append(task_of(self._job_id, entry, identity))

    def _is_new(self, account: str) -> bool:
        if account in self._met:
            self._duplicates += 1
            return False
        self._met.add(account)
        return True

    def _told_as_outside(self, entry: Entry) -> bool:
        if not (entry.account.startswith("did:") and self._scope.excludes_did(entry.account)):
            return False
        if self._is_new(entry.account):
            self._outcomes.append(out_of_scope(self._job_id, entry.account, None))
        return True

    def _told_as_gone(self, entry: Entry) -> bool:
        """Only where no host could change it: else the account is resolved first."""
        if entry.gone is None or entry.host is not None or self._scope.asks_for_hosts:
            return False
        if self._is_new(entry.account):
            self._outcomes.append(listed_as_gone(self._job_id, entry, None))
        return True
