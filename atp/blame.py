"""Whom an answer of a host is about: the account, the host, or the pace. The breaker acts by it.

docs/hosts.md has the answers one by one, each with what follows.
"""

from __future__ import annotations

from typing import Literal

from schemas.errors import (
    AddressForbidden,
    HostSilent,
    NotAtproto,
    RateLimited,
    UnexpectedResponse,
    XrpcError,
)

Blame = Literal["account", "host", "pace", "rules"]
"""`rules`: ours, which forbid the request."""

_GATEWAY = frozenset({502, 503, 504, *range(520, 531)})
"""What stands before a host says so when it can't reach it, whatever the body."""


def blame_for(error: XrpcError) -> Blame:
    """Whom an answer, or its absence, is about. What is not known here is about the account."""
    match error:
        case RateLimited():
            return "pace"
        case AddressForbidden():
            return "rules"
        case HostSilent() | NotAtproto():
            return "host"
        case UnexpectedResponse() if error.status in _GATEWAY:
            return "host"
    return "account"


def never_connected(error: XrpcError) -> bool:
    """Whether it failed before there was a connection: then it can't be about one account."""
    return isinstance(error, HostSilent) and not error.connected
