"""Proven records as messages of `records`: selected, tallied, the broken ones set aside."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from atp.repo import BrokenRecord, Record, Records
from messaging.clients import MESSAGE_BYTES
from schemas.deadletter import DeadLetter
from schemas.errors import CidMismatch
from schemas.records import record_event, record_head
from stream_workers.fetch.selection import Selection

_ROOM = 4096
"""What the event around a record, the key and Kafka's own framing may take of a message."""
_BLOCK_BYTES = (MESSAGE_BYTES - _ROOM) // 4 * 3 - 1024
"""What of a raw block fits into a dead letter as base64."""

_INVALID = ("invalid", "invalid")
"""What a record that is no valid atproto data counts as, and its dead letter's reason."""


class RepoEvents:
    """Life: made, iterated over once to its end; then the tallies hold."""

    def __init__(
        self, repo: Records, job_id: str, host: str, selection: Selection, fetched_at: float
    ) -> None:
        """`fetched_at` in seconds since 1970."""
        self._repo, self._job_id, self._host, self._selection = repo, job_id, host, selection
        self._fetched_at = fetched_at
        self.proof = repo.proof
        self.records: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.undated = 0
        self.broken: list[DeadLetter] = []

    def __iter__(self) -> Iterator[bytes]:
        """One event per wanted record, in key order."""
        repo, judge, records, dropped = self._repo, self._selection.judge, self.records, self.dropped
        head = record_head(repo.did, int(self._fetched_at * 1e6), self._job_id, repo.proof, repo.rev)
        why_not = self._selection.wants_key(repo.did)

        def wanted(collection: str, rkey: str) -> bool:
            reason = why_not(collection, rkey)
            if reason is not None:
                dropped[reason] += 1
            return reason is None

        for record in repo.records(wanted):
            if isinstance(record, BrokenRecord):
                counted, name = ("cid_mismatch", CidMismatch.__name__) if record.mismatch else _INVALID
                self._set_aside(record, counted, name, record.reason, record.raw)
                continue
            reason, undated = judge(record.collection, record.rkey, record.json, record.created_at)
            self.undated += undated
            if reason is not None:
                dropped[reason] += 1
            elif len(record.json) > MESSAGE_BYTES - _ROOM:
                detail = f"{len(record.json)} bytes of JSON"
                self._set_aside(record, "too_large", "too_large", detail, record.json)
            else:
                records[record.collection] += 1
                yield record_event(head, record.collection, record.rkey, record.cid, record.json)

    def _set_aside(
        self, record: Record | BrokenRecord, counted: str, reason: str, detail: str, raw: bytes
    ) -> None:
        self.dropped[counted] += 1
        if len(raw) > _BLOCK_BYTES:
            detail += f"; the first {_BLOCK_BYTES} of {len(raw)} bytes are kept"
        self.broken.append(
            DeadLetter(
                stage="record",
                error_type="validation_failed",
                reason=reason,
                detail=detail,
                job_id=self._job_id,
                did=self._repo.did,
                host=self._host,
                uri=f"at://{self._repo.did}/{record.collection}/{record.rkey}",
                block=b64encode(raw[:_BLOCK_BYTES]).decode(),
                at=datetime.fromtimestamp(self._fetched_at, UTC),
            )
        )
