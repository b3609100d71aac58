"""Topics `dids` and `dids.retry`: one task per account, keyed by the origin of its PDS."""

from __future__ import annotations

from schemas.message import Count, Instant, Message
from schemas.outcomes import Replaced


class DidTask(Message):
    """Fetch this account's repository for this job."""

    job_id: str
    did: str
    handle: str | None = None
    pds: str
    """Canonical origin of the host, e.g. `https://pds.example.com`."""
    signing_key: str
    """The account's `#atproto` key as a did:key."""
    attempt: Count = 1
    """1 for the first; one more each time a failure sends the task round again."""
    replay: Count = 0
    """How often the account's dead letter was replayed; 0 for the first life."""
    replaces: Replaced | None = None
    """Of a replay: the outcome that its own takes the place of."""
    moves: Count = 0
    """How often the task followed the account to another host."""
    first_tried_at: Instant | None = None
    not_before: Instant | None = None
    """Not due before this; absent: at once."""
    since: str | None = None
    """The rev of a fetch whose records are in the stores: what came after it will do."""
    since_commit: str | None = None
    """The CID of the commit at that rev; both or neither."""
    rev: str | None = None
    """The repository's rev where the source listed one: what the host had then."""
