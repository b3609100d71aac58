"""What hosts answer, and whom each answer is about: the account, the host, or the pace.

One table, in order: the first row that fits an error decides. The breaker acts by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from schemas.errors import (
    AddressForbidden,
    HostSilent,
    HostTimeout,
    HostUnreachable,
    NotAtproto,
    RateLimited,
    RepoUnavailable,
    UnexpectedResponse,
    XrpcError,
)

Blame = Literal["account", "host", "pace", "rules"]
"""`rules`: ours, which forbid the request."""

_GATEWAY = frozenset({502, 503, 504, *range(520, 531)})


@dataclass(frozen=True)
class Row:
    """One kind of answer."""

    answer: str
    """As people know it."""
    blame: Blame
    then: str
    """What is done about it."""
    fits: Callable[[XrpcError], bool]


WHAT_HOSTS_ANSWER: tuple[Row, ...] = (
    Row(
        "no such name, no connection, TLS that fails",
        "host",
        "the breaker opens, at once where the host never answered; no attempt is spent",
        lambda error: isinstance(error, HostSilent) and not error.connected,
    ),
    Row(
        "a connection that is reset",
        "host",
        "the breaker opens after a few in a row; spends an attempt where the host answers others",
        lambda error: isinstance(error, HostUnreachable),
    ),
    Row(
        "silence, or a download that does not end in time",
        "host",
        "as a reset",
        lambda error: isinstance(error, HostTimeout),
    ),
    Row(
        "429",
        "pace",
        "the limiter waits; no attempt is spent",
        lambda error: isinstance(error, RateLimited),
    ),
    Row(
        "RepoNotFound, RepoTakendown, RepoSuspended, RepoDeactivated",
        "account",
        "`unavailable`; the first and last only after the directory was asked again",
        lambda error: isinstance(error, RepoUnavailable),
    ),
    Row(
        "502, 503, 504, 520 to 530",
        "host",
        "as a reset",
        lambda error: isinstance(error, UnexpectedResponse) and error.status in _GATEWAY,
    ),
    Row(
        "HTML, nothing, or no HTTP, where JSON or a CAR should be; endless redirects",
        "host",
        "as a reset",
        lambda error: isinstance(error, NotAtproto),
    ),
    Row(
        "any other XRPC error in JSON, 500 InternalServerError too",
        "account",
        "tried again from 500 on, else `failed`",
        lambda error: isinstance(error, UnexpectedResponse),
    ),
    Row(
        "a private address, or plain http",
        "rules",
        "`failed`, unless network.allow_private_hosts is set",
        lambda error: isinstance(error, AddressForbidden),
    ),
)


def blame_for(error: XrpcError) -> Blame:
    """Whom an answer, or its absence, is about. What the table does not know is about the account."""
    return next((row.blame for row in WHAT_HOSTS_ANSWER if row.fits(error)), "account")


def never_connected(error: XrpcError) -> bool:
    """Whether it failed before there was a connection: then it can't be about one account."""
    return isinstance(error, HostSilent) and not error.connected
