"""Many entries to identities, a few at a time, in order. What can't be resolved is an answer like any other.

One account that hangs, lies or does not exist may cost a line in the report, never the batch it stands in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from atp.identity import Identity
from atp.syntax import is_did, is_handle
from schemas.errors import IdentifierInvalid, SkyfillError

_log = logging.getLogger("skyfill.planner")


class Resolves(Protocol):
    """What the planner needs of atp.identity.Resolver."""

    async def resolve(self, did_or_handle: str, *, fresh: bool = False) -> Identity:
        """The account of a DID or handle. Raises IdentityError's subclasses and AddressForbidden."""


class Resolution(NamedTuple):
    """An entry's account, or why there is none."""

    account: str
    """The entry as `account_of` wrote it."""
    answer: Identity | SkyfillError


class Unexpected(SkyfillError):
    """A resolver failed in a way that nobody foresaw; the account is given up, the plan goes on."""


def account_of(entry: str) -> str:
    """The one way to write an entry: handles in lower case, without @. DIDs are left as they are."""
    return entry if entry.startswith("did:") else entry.removeprefix("@").lower()


async def resolve_all(resolver: Resolves, accounts: Iterable[str], concurrency: int) -> list[Resolution]:
    """Resolves what `accounts` yields, `concurrency` at once, each asked for only when a place is free.

    The result has the order of `accounts`. Never raises what a resolver raised.
    """
    coming = iter(accounts)
    answers: list[Resolution | None] = []

    async def work() -> None:
        for account in coming:
            place = len(answers)
            answers.append(None)
            answers[place] = Resolution(account, await resolve_one(resolver, account))

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return [answer for answer in answers if answer is not None]


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
