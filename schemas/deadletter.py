"""Topic `deadletter`: what was given up, with its reason and all that a replay needs, keyed by DID."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, Self

from schemas.errors import ErrorType
from schemas.message import Count, Instant, Message

HOST_GIVEN_UP = "HostGivenUp"
"""The reason of the one letter for all accounts of a job at a host, and of their outcomes."""
_PAYLOAD_CHARACTERS = 256 * 1024
"""JSON writes a character as up to six bytes: with these the letter fits a message."""


def payload_text(value: bytes) -> str:
    """A message as the payload of its dead letter: text, cut where the letter would not fit a message."""
    text = value.decode("utf-8", "replace")
    if len(text) <= _PAYLOAD_CHARACTERS:
        return text
    return f"{text[:_PAYLOAD_CHARACTERS]}… (cut; {len(value)} bytes)"


class LetterId(NamedTuple):
    """Where a dead letter lies, which is what it is called: shown and sent as `partition:offset`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `2:1041`. ValueError for anything else."""
        found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,18})", text)
        if found is None:
            raise ValueError(f"{text[:100]!r} is no dead letter's id: partition and offset, e.g. 2:1041")
        return cls(int(found[1]), int(found[2]))


class DeadLetter(Message):
    """One thing that will not be tried again by itself."""

    stage: Literal["plan", "fetch", "record", "track", "sink"]
    error_type: ErrorType
    reason: str
    detail: str = ""
    job_id: str | None = None
    did: str | None = None
    host: str | None = None
    uri: str | None = None
    attempts: Count = 1
    replay: Count = 0
    """Which replay of the account came to this; 0 for its first life."""
    payload: str | None = None
    """The command or task that failed, as the text it was."""
    block: str | None = None
    """The record's raw block, as base64."""
    at: Instant

    @property
    def is_lot(self) -> bool:
        """Whether it stands for all accounts of its job at a host that was given up."""
        return self.reason == HOST_GIVEN_UP and self.did is None and self.host is not None

    def why_not_replayable(self) -> str | None:
        """Why a replay of it would change nothing; None if it may be replayed."""
        if self.job_id is None:
            return "it belongs to no job"
        if self.stage not in ("plan", "fetch"):
            return _NOT_REPLAYED[self.stage]
        if self.reason in _NO_ACCOUNTS:
            return _NO_ACCOUNTS[self.reason]
        if self.did is None and not self.is_lot:
            return "it names neither an account nor a host"
        return None


_NOT_REPLAYED = {
    "record": "one record is broken and the rest is stored; fetching it all again would change nothing",
    "sink": "the store refuses the row for ever; start a job with another store",
    "track": "it was no outcome, and nothing is known of an account",
}
_NO_ACCOUNTS = {
    "CommandRefused": "it is a command that was refused; send a corrected one",
    "UnknownJob": "its task belonged to no job; start a job for the account",
    "ValidationError": "it was no task, and nothing is known of an account",
}
"""Letters of these reasons have no outcome that a replay could replace."""
