"""How one go at a task may end. Each ending knows nothing of Kafka; `publish` turns it into messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atp.blame import Blame, blame_for, never_connected
from schemas.dids import DidTask
from schemas.errors import ErrorType, RepoError, SkyfillError, XrpcError
from schemas.records import Proof
from stream_workers.fetch.budget import Spool
from stream_workers.fetch.events import RepoEvents

Strategy = Literal["repo", "list", "since"]
"""How records came."""
HostWord = Literal["answered", "failed", "never_connected", "refused", "unknown"]
"""What a go that brought nothing says of the host. The others say that it answered."""
_WORDS: dict[Blame, HostWord] = {"account": "answered", "pace": "refused", "rules": "unknown"}


@dataclass
class Fetched:
    """The repository is verified and selected; `messages` are ready unless it is too large to hold."""

    rev: str
    commit: str
    size: int
    events: RepoEvents
    messages: list[bytes] | None
    spool: Spool
    strategy: Strategy
    since: str | None = None
    """The rev that the records go on from; None: they are all there are."""
    seconds: float = 0.0

    @property
    def proof(self) -> Proof:
        """What stands behind the records."""
        return self.events.proof


@dataclass
class Unchanged:
    """The repository is still at the rev that the stores know."""

    rev: str
    seconds: float = 0.0


@dataclass
class Failed:
    """No further attempt: `unavailable` is the account's own state, `failed` is ours to explain, `skipped`
    lies outside the job's scope."""

    status: Literal["unavailable", "failed", "skipped"]
    error_type: ErrorType
    reason: str
    detail: str
    seconds: float = 0.0
    host: HostWord = "unknown"


@dataclass
class Retry:
    """Another attempt after `delay` seconds."""

    error_type: ErrorType
    reason: str
    detail: str
    delay: float
    seconds: float = 0.0
    host: HostWord = "unknown"


@dataclass
class GivenUp:
    """The job no longer waits for the account's host. The first of a host's accounts carries the dead letter
    for all of them: then `accounts` says how many there are so far."""

    detail: str
    failing_since: float
    """Seconds since 1970."""
    accounts: int | None = None
    error_type: ErrorType = "network_error"
    reason: str = "HostGivenUp"
    seconds: float = 0.0


@dataclass
class Waiting:
    """No ending: the host takes nothing before `until`, seconds since 1970. Nothing is spent."""

    until: float


@dataclass
class Requeued:
    """`task` goes to the retry topic without spending an attempt: the account moved, its job is paused, or
    it would only keep others here from being read."""

    task: DidTask


@dataclass
class Cancelled:
    """The job was cancelled before this account's turn."""


@dataclass
class Unreadable:
    """What was delivered is not a task, or belongs to no job."""

    reason: str
    detail: str
    payload: str
    job_id: str | None = None
    did: str | None = None


Ending = Fetched | Unchanged | Failed | Retry | GivenUp | Requeued | Cancelled | Unreadable


def failed(error: SkyfillError, seconds: float = 0.0) -> Failed:
    """The ending of an error that no further attempt would mend."""
    status: Literal["unavailable", "failed"] = (
        "unavailable" if error.error_type == "data_unavailable" else "failed"
    )
    return Failed(status, error.error_type, error.reason, str(error), seconds, host_word(error))


def host_word(error: SkyfillError) -> HostWord:
    """What an error says of the host that was asked."""
    if isinstance(error, XrpcError):
        blame = blame_for(error)
        if blame == "host":
            return "never_connected" if never_connected(error) else "failed"
        return _WORDS[blame]
    return "answered" if isinstance(error, RepoError) else "unknown"
