"""What can go wrong in the simulated network, as typed faults.

A fault names its account or host by number; ``first=n`` strikes only the first n requests it concerns,
None strikes always. Which terminal state a fault leads to is decided in ``truth.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.errors import ConfigError

Host = int | Literal["plc", "relay"]
"""A PDS by its number, or one of the two services beside them."""


@dataclass(frozen=True)
class Unavailable:
    """The account's PDS refuses it with an error of its state; PLC still knows it."""

    account: int
    state: Literal["takendown", "suspended", "deactivated", "not_found"] = "takendown"


@dataclass(frozen=True)
class Moved:
    """The account moved: deactivated on its old PDS, served by ``to_host``.

    PLC names the old PDS in its first ``stale_answers`` answers about the account: it moved after then.
    """

    account: int
    to_host: int
    stale_answers: int = 0


@dataclass(frozen=True)
class Tombstoned:
    """The DID was deleted for good: PLC answers 410."""

    account: int


@dataclass(frozen=True)
class Incomplete:
    """The DID document has no PDS, or no signing key."""

    account: int
    lacks: Literal["pds", "key"] = "pds"


@dataclass(frozen=True)
class RotatedKey:
    """PLC names the account's old signing key in its first ``stale_answers`` answers, then the new one."""

    account: int
    stale_answers: int = 1


@dataclass(frozen=True)
class Corrupted:
    """getRepo's CAR is not what was signed.

    ``flipped_byte``: in one record's block; ``wrong_signature``: by a key that was never the account's;
    ``missing_block``: a node of the tree is not sent.
    """

    account: int
    how: Literal["flipped_byte", "wrong_signature", "missing_block"] = "flipped_byte"
    first: int | None = None


@dataclass(frozen=True)
class InvalidRecord:
    """One record holds a float, which atproto data must not; the repository proves itself all the same."""

    account: int


@dataclass(frozen=True)
class Changing:
    """The account writes a post after each page of records that it answers (listRecords)."""

    account: int
    first: int | None = None


@dataclass(frozen=True)
class RateLimited:
    """A host with a budget of ``limit`` requests per fixed ``window`` (seconds), per client address.

    A window starts at its first request. With ``repo_limit`` getRepo has a bucket of its own, as on newer
    PDSs. RateLimit-Reset is in epoch seconds, or with ``reset="delta"`` in seconds from now.
    """

    host: Host
    limit: int
    window: int = 300
    repo_limit: int | None = None
    reset: Literal["epoch", "delta"] = "epoch"


@dataclass(frozen=True)
class HiddenLimit:
    """A host that takes ``limit`` requests of any kind per fixed ``window`` (seconds), and never says so.

    Its 429 has no header about it either; with ``retry_after`` it has that one.
    """

    host: Host
    limit: int
    window: float = 1.0
    retry_after: bool = False


@dataclass(frozen=True)
class HostDown:
    """No answer at all: open connections are reset, new ones refused, or with ``silent`` never established.

    ``begins`` is in seconds after the network's start, ``lasts`` in seconds; None is for ever.
    """

    host: Host
    begins: float = 0.0
    lasts: float | None = None
    silent: bool = False


@dataclass(frozen=True)
class ListedAs:
    """The relay's listHosts says this of a PDS. It serves all the same."""

    host: int
    status: Literal["idle", "offline", "throttled", "banned"]


@dataclass(frozen=True)
class ForeignRows:
    """A PDS lists accounts (by number) that live elsewhere, as if they were its own."""

    host: int
    accounts: tuple[int, ...]


@dataclass(frozen=True)
class MalformedRows:
    """The first page of a host's listRepos begins with ``rows`` rows that name no account."""

    host: Host
    rows: int = 1


@dataclass(frozen=True)
class _Anywhere:
    """A fault of either an account (on its PDS) or a whole host; ``method`` (e.g. getRepo) narrows it."""

    account: int | None = None
    host: Host | None = None
    first: int | None = None
    method: str | None = None

    def __post_init__(self) -> None:
        if (self.account is None) == (self.host is None):
            raise ConfigError(f"{type(self).__name__} needs an account or a host, and not both")


@dataclass(frozen=True)
class Slow(_Anywhere):
    """The answer begins ``seconds`` late, or as soon as the fault is withdrawn."""

    seconds: float = 1.0


@dataclass(frozen=True)
class Stalled(_Anywhere):
    """The answer stops: before its head, in the middle of its body, or ``trickle``: the body comes a byte a
    second. Withdrawn, it goes on."""

    at: Literal["head", "body", "trickle"] = "body"


@dataclass(frozen=True)
class CutShort(_Anywhere):
    """The connection is reset in the middle of the body, after a status of 200."""


@dataclass(frozen=True)
class ServerError(_Anywhere):
    """The answer is a 5xx."""

    status: int = 502


@dataclass(frozen=True)
class Odd(_Anywhere):
    """The answer is one of the table in ``oddities.py``, by its name there."""

    answer: str = "200 page"


AccountFault = (
    Unavailable | Moved | Tombstoned | Incomplete | RotatedKey | Corrupted | InvalidRecord | Changing
)
HostFault = RateLimited | HiddenLimit | HostDown | ListedAs | ForeignRows | MalformedRows
Fault = AccountFault | HostFault | Slow | Stalled | CutShort | ServerError | Odd
