"""Many entries to identities, a few at a time, in order. What can't be resolved is an answer like any other.

One account that hangs, lies or does not exist may cost a line in the report, never the batch it stands in.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import NamedTuple, Protocol

from atp.identity import Identity
from atp.syntax import is_did, is_handle
from producers.sources.base import Entry
from schemas.errors import IdentifierInvalid, SkyfillError

_log = logging.getLogger("skyfill.planner")


class Resolves(Protocol):
    """What the planner needs of atp.identity.Resolver."""

    async def resolve(self, did_or_handle: str, *, fresh: bool = False) -> Identity:
        """The account of a DID or handle. Raises IdentityError's subclasses and AddressForbidden."""

    def known(self, names: Collection[str]) -> dict[str, Identity]:
        """Those of these DIDs and handles that need not be asked for. A page at a time, since it is quick."""


class Resolution(NamedTuple):
    """An entry and its account, or why there is none."""

    entry: Entry
    """Its account as `account_of` wrote it."""
    answer: Identity | SkyfillError


class Unexpected(SkyfillError):
    """A resolver failed in a way that nobody foresaw; the account is given up, the plan goes on."""


def account_of(entry: str) -> str:
    """The one way to write an entry: handles in lower case, without @. DIDs are left as they are."""
    return entry if entry.startswith("did:") else entry.removeprefix("@").lower()


async def resolve_all(
    resolver: Resolves,
    pages: AsyncGenerator[Sequence[Entry], None],
    concurrency: int,
    resolved: Counter[str] | None = None,
) -> list[Resolution]:
    """Resolves what `pages` brings, `concurrency` at once. A page is asked for only when a place is free.

    `resolved` counts how: see schemas.outcomes.PlanOutcome.
    The result has the order of the pages. Never raises what a resolver raised, and lets pass what `pages`
    raises.
    """
    work = _Work(resolver, pages, Counter() if resolved is None else resolved)
    workers = [asyncio.create_task(work.go_on()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await pages.aclose()
    return [answer for answer in work.answers if answer is not None]


class _Work:
    """What is to be resolved, shared by those that do it."""

    def __init__(
        self, resolver: Resolves, pages: AsyncGenerator[Sequence[Entry], None], resolved: Counter[str]
    ) -> None:
        self.answers: list[Resolution | None] = []
        self._resolver, self._pages, self._resolved = resolver, pages, resolved
        self._waiting: deque[tuple[int, Entry]] = deque()
        self._reading = asyncio.Lock()
        self._ended = False

    async def go_on(self) -> None:
        """Resolves one after the other until there are no more."""
        while await self._has_more():
            place, entry = self._waiting.popleft()
            self.answers[place] = Resolution(entry, await resolve_one(self._resolver, entry.account))

    async def _has_more(self) -> bool:
        while not self._waiting and not self._ended:
            async with self._reading:
                if self._waiting or self._ended:
                    continue
                page = await anext(self._pages, None)
                if page is None:
                    self._ended = True
                else:
                    self._take(page)
        return bool(self._waiting)

    def _take(self, page: Sequence[Entry]) -> None:
        known = self._resolver.known([entry.account for entry in page if entry.identity is None])
        for entry in page:
            answer = entry.identity or known.get(entry.account)
            self._resolved["source" if entry.identity else "known" if answer else "directory"] += 1
            if answer is None:
                self._waiting.append((len(self.answers), entry))
            self.answers.append(None if answer is None else Resolution(entry, answer))


async def resolve_one(resolver: Resolves, account: str, *, fresh: bool = False) -> Identity | SkyfillError:
    """The account, or why there is none. Never raises what a resolver raised. `fresh`: past what is known."""
    if not (is_did(account) or is_handle(account)):
        return IdentifierInvalid("neither a DID nor a handle")
    try:
        return await resolver.resolve(account, fresh=fresh)
    except SkyfillError as error:
        return error
    except Exception as error:
        _log.exception("resolving %s failed unexpectedly", account)
        return Unexpected(f"{type(error).__name__}: {error}")
