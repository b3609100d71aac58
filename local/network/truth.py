"""What a perfect backfill of the simulated network would hold, from the seed and the faults alone.

Stores are compared with this, never with the pipeline's own counts; nothing here reads what was served.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import orjson

from local.network.accounts import Account, Population
from local.network.active import ActiveFaults
from local.network.faults import (
    Corrupted,
    CutShort,
    Host,
    HostDown,
    Incomplete,
    Moved,
    ServerError,
    Stalled,
    Tombstoned,
    Unavailable,
)
from local.network.store import RepoStore

State = Literal["ok", "unavailable", "corrupted", "unreachable"]

UNAVAILABLE = {
    "takendown": "RepoTakendown",
    "suspended": "RepoSuspended",
    "deactivated": "RepoDeactivated",
    "not_found": "RepoNotFound",
}
CORRUPTED = {
    "flipped_byte": "BlockMismatch",
    "wrong_signature": "SignatureInvalid",
    "missing_block": "BlockMissing",
}

_Breaking = ServerError | CutShort | Stalled
_BROKEN: dict[type[_Breaking], str] = {
    ServerError: "UnexpectedResponse",
    CutShort: "HostUnreachable",
    Stalled: "HostTimeout",
}


class RecordTruth(NamedTuple):
    """One record; ``record`` is its atproto JSON."""

    uri: str
    cid: str
    record: dict[str, Any]


class AccountTruth(NamedTuple):
    """One account. ``host`` is the number of the PDS that serves it in the end.

    ``reason`` is the name of the error that an account not ok ends with, "" otherwise. ``records`` are
    what stores have to hold: none for an account that is not ok. ``invalid`` are dead letters each.
    """

    number: int
    did: str
    host: int
    state: State
    reason: str
    records: list[RecordTruth]
    invalid: list[RecordTruth]


class Truth:
    """The truth about every account, under the faults in force now."""

    def __init__(self, population: Population, faults: ActiveFaults, store: RepoStore) -> None:
        self._population = population
        self._faults = faults
        self._store = store

    def __iter__(self) -> Iterator[AccountTruth]:
        for number in range(len(self._population)):
            yield self.of(self._population.account(number))

    def of(self, account: Account, *, records: bool = True) -> AccountTruth:
        """One account's truth; without ``records`` only its state, in microseconds."""
        state, reason = self._state(account)
        truth = AccountTruth(account.number, account.did, self._host(account), state, reason, [], [])
        if records and state == "ok":
            for item in self._store.listing(account):
                record = RecordTruth(f"at://{account.did}/{item.key}", item.cid, orjson.loads(item.value))
                (truth.invalid if self._store.is_invalid(account, item.key) else truth.records).append(record)
        return truth

    def line(self, account: Account, origin: str, *, records: bool) -> bytes:
        """One account's truth as a JSON line, its host as ``origin``."""
        truth = self.of(account, records=records)
        fields = truth._asdict()
        for name in ("records", "invalid"):
            fields[name] = [record._asdict() for record in fields[name]]
        return orjson.dumps({**fields, "host": origin}, option=orjson.OPT_APPEND_NEWLINE)

    def host(self, account: Account) -> int:
        """The number of the PDS that serves the account in the end."""
        return self._host(account)

    def _host(self, account: Account) -> int:
        moved = self._faults.of_account(account.number, Moved)
        return moved.to_host if moved is not None else account.host

    def _state(self, account: Account) -> tuple[State, str]:
        number = account.number
        if self._faults.of_account(number, Tombstoned):
            return "unavailable", "IdentityTombstoned"
        if self._faults.of_account(number, Incomplete):
            return "unavailable", "IdentityIncomplete"
        if self._down("plc") or self._breaks_for_ever(self._at("plc")):
            return "unreachable", "IdentityUnreachable"
        host = self._host(account)
        if down := self._down(host):
            return "unreachable", "HostTimeout" if down.silent else "HostUnreachable"
        broken = self._breaks_for_ever([*self._at(host), *self._of(number)])
        if broken is not None:
            return "unreachable", _BROKEN[type(broken)]
        unavailable = self._faults.of_account(number, Unavailable)
        if unavailable is not None:
            return "unavailable", UNAVAILABLE[unavailable.state]
        corrupted = self._faults.of_account(number, Corrupted)
        if corrupted is not None and corrupted.first is None:
            return "corrupted", CORRUPTED[corrupted.how]
        return "ok", ""

    def _down(self, host: Host) -> HostDown | None:
        """The outage that never ends, if there is one."""
        down = self._faults.of_host(host, HostDown)
        return down if down is not None and down.lasts is None else None

    def _at(self, host: Host) -> list[_Breaking | None]:
        return [self._faults.of_host(host, kind) for kind in _BROKEN]

    def _of(self, number: int) -> list[_Breaking | None]:
        return [self._faults.of_account(number, kind) for kind in _BROKEN]

    def _breaks_for_ever(self, faults: list[_Breaking | None]) -> _Breaking | None:
        return next((fault for fault in faults if fault is not None and fault.first is None), None)
