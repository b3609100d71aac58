"""The simulated directory's log: all accounts' operations, numbered, as plc.directory's /export gives them.

It only grows: a fault that is injected or withdrawn later is an operation more at the end. The DIDs are not
the hashes of their first operations, and nothing here is ever checked against a chain of signatures.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson
from cbrrr import encode_dag_cbor

from local.network.accounts import Account, Population
from local.network.active import ActiveFaults
from local.network.faults import Incomplete, Moved, RotatedKey, Tombstoned
from local.network.keys import did_key
from local.network.repo import cid_of, cid_text

LEGACY_EVERY = 5
"""Every fifth account was made by a legacy `create`."""
RECOVERY, THIEF = 97, 98
"""Generations of keys: the one that may change an account's entry, and a stranger's."""
_BEGAN = datetime(2023, 1, 1, tzinfo=UTC)
Json = dict[str, Any]


class Row(NamedTuple):
    """One operation, and whether a later one took it back."""

    seq: int
    did: str
    operation: Json
    created: datetime
    nullified: bool

    @property
    def cid(self) -> str:
        return cid_text(cid_of(encode_dag_cbor(self.operation)))


class _Wanted(NamedTuple):
    """What an account's last operation has to say."""

    host: int
    generation: int
    lacks: str | None
    tombstoned: bool


class OperationLog:
    """The log of all accounts of a network; ``origins`` are the PDSs' by host number.

    It begins with one operation for each account, in their order. The last account is then stolen and
    won back, which nullifies the thief's operation; after that come the faults.
    """

    def __init__(self, population: Population, faults: ActiveFaults, origins: Sequence[str]) -> None:
        self._population = population
        self._faults = faults
        self._origins = origins
        self._later: list[Row] = []
        self._states: dict[int, _Wanted] = {}
        self._heads: dict[int, Row] = {}
        if len(population):
            self._steal_and_win_back(population.account(len(population) - 1))

    def after_number(self, after: int, count: int) -> Iterator[bytes]:
        """Rows in the form of the numeric mode."""
        self._catch_up()
        for seq in range(after + 1, min(after + count, len(self)) + 1):
            row = self._row(seq)
            yield _line(row, seq=row.seq, type="sequenced_op")

    def after_time(self, after: datetime | None, count: int) -> Iterator[bytes]:
        """Rows in the form of the mode that pages by time; those of one instant may be cut apart."""
        self._catch_up()
        rows = (self._row(seq) for seq in range(1, len(self) + 1))
        later = sorted((r for r in rows if after is None or r.created > after), key=lambda r: r.created)
        for row in later[:count]:
            yield _line(row, nullified=row.nullified)

    def __len__(self) -> int:
        return len(self._population) + len(self._later)

    def _row(self, seq: int) -> Row:
        accounts = len(self._population)
        return self._later[seq - accounts - 1] if seq > accounts else self._genesis(seq - 1)

    def _genesis(self, number: int) -> Row:
        """The first operation of an account, made anew each time; two accounts share an instant."""
        account = self._population.account(number)
        created = _BEGAN + timedelta(seconds=number // 2)
        if number % LEGACY_EVERY == LEGACY_EVERY - 1:
            operation: Json = {
                "type": "create",
                "signingKey": did_key(account.key()),
                "recoveryKey": did_key(account.key(RECOVERY)),
                "handle": account.handle,
                "service": self._origins[account.host],
                "prev": None,
            }
        else:
            operation = self._operation(account, _Wanted(account.host, 0, None, False), None)
        return Row(number + 1, account.did, _signed(account, operation), created, nullified=False)

    def _catch_up(self) -> None:
        """Append what faults have changed since the last look."""
        touched = {getattr(fault, "account", None) for fault in self._faults} | self._states.keys()
        for number in sorted(number for number in touched if number is not None):
            account = self._population.account(number)
            was = self._states.get(number) or _Wanted(account.host, 0, None, False)
            wanted = self._wanted(account)
            if wanted == was:
                continue
            if was.tombstoned or wanted[:3] != was[:3]:
                self._append(
                    account, self._operation(account, wanted, self._prev(account, was)), was.tombstoned
                )
            if wanted.tombstoned:
                self._append(account, {"type": "plc_tombstone", "prev": self._head(account).cid})
            self._states[number] = wanted

    def _wanted(self, account: Account) -> _Wanted:
        of = self._faults.of_account
        moved, incomplete = of(account.number, Moved), of(account.number, Incomplete)
        return _Wanted(
            account.host if moved is None else moved.to_host,
            0 if of(account.number, RotatedKey) is None else 1,
            None if incomplete is None else incomplete.lacks,
            of(account.number, Tombstoned) is not None,
        )

    def _steal_and_win_back(self, account: Account) -> None:
        first = self._head(account)
        stolen = self._operation(account, _Wanted(account.host, THIEF, None, False), first.cid)
        self._append(account, stolen)
        won_back = self._operation(account, _Wanted(account.host, 0, None, False), first.cid)
        self._append(account, won_back, nullifies=True)

    def _append(self, account: Account, operation: Json, nullifies: bool = False) -> None:
        """One more operation; with ``nullifies`` it takes the account's last one back."""
        if nullifies:
            head = self._head(account)
            self._later[head.seq - len(self._population) - 1] = head._replace(nullified=True)
        seq = len(self) + 1
        created = _BEGAN + timedelta(seconds=seq)
        row = Row(seq, account.did, _signed(account, operation), created, nullified=False)
        self._later.append(row)
        self._heads[account.number] = row

    def _prev(self, account: Account, was: _Wanted) -> str:
        """The operation that a new one follows: not a tombstone, which it takes back."""
        head = self._head(account)
        return str(head.operation["prev"]) if was.tombstoned else head.cid

    def _head(self, account: Account) -> Row:
        return self._heads.get(account.number) or self._genesis(account.number)

    def _operation(self, account: Account, wanted: _Wanted, prev: str | None) -> Json:
        service = {"type": "AtprotoPersonalDataServer", "endpoint": self._origins[wanted.host]}
        key = did_key(account.key(wanted.generation))
        return {
            "type": "plc_operation",
            "rotationKeys": [did_key(account.key(RECOVERY))],
            "verificationMethods": {} if wanted.lacks == "key" else {"atproto": key},
            "alsoKnownAs": [f"at://{account.handle}"],
            "services": {} if wanted.lacks == "pds" else {"atproto_pds": service},
            "prev": prev,
        }


def _signed(account: Account, operation: Json) -> Json:
    """By the account's recovery key; what the thief signed would not look different."""
    signature = account.key(RECOVERY).sign(encode_dag_cbor(operation))
    return {**operation, "sig": base64.urlsafe_b64encode(signature).decode().rstrip("=")}


def _line(row: Row, **more: Any) -> bytes:
    created = row.created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {"did": row.did, "operation": row.operation, "cid": row.cid, "createdAt": created}
    return orjson.dumps(fields | more)
