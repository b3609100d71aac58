"""Writes items to one table so that a newer version of a record is never replaced by an older one.

Every write carries its condition to the table: a process may be stopped after whatever it checked itself,
and go on when a newer item is there. So BatchWriteItem, which knows no conditions, is not used. The first
fetch of an account that the table knew nothing of goes in batches of INSERT statements, each of which fails
where an item is; all else goes item by item, under NOT_OLDER.
"""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from botocore.exceptions import ClientError, HTTPClientError

from schemas.errors import SinkError
from sinks.items import HASH_KEY, NOT_OLDER, NOT_OLDER_NAMES, RANGE_KEY, Item, condition_values
from sinks.tables import explained
from sinks.tenure import Tenure

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import BatchStatementRequestTypeDef, BatchStatementResponseTypeDef

T = TypeVar("T")

BATCH = 25
"""The most statements of one BatchExecuteStatement."""
_ACCOUNTS = 100_000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_PATIENCE_AFTER_STOP = 15.0
_PASSING = frozenset(
    {
        "InternalServerError",
        "ItemCollectionSizeLimitExceededException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)

_THERE = "DuplicateItem"
_PASSING_OF_ONE = frozenset(
    {
        "InternalServerError",
        "ItemCollectionSizeLimitExceeded",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "ThrottlingError",
        "TransactionConflict",
    }
)
"""The same, as they are said of one statement of a batch."""


class Fetch(NamedTuple):
    """One fetch of an account; its rows share a rev, and name each record once."""

    job: str
    time_us: int


class Write(NamedTuple):
    """An item to be written."""

    item: Item
    fetch: Fetch

    @property
    def did(self) -> str:
        return str(self.item[HASH_KEY]["S"])

    @property
    def key(self) -> tuple[str, str]:
        return self.did, str(self.item[RANGE_KEY]["S"])


class TableWriter:
    """Life: made, `write` again and again from one thread, `forget` when partitions are given away."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        pool: ThreadPoolExecutor,
        tenure: Tenure,
        stop: threading.Event,
    ) -> None:
        """`stop`: once set, a table that throttles for long is given up instead of waited for."""
        self._client, self._table, self._pool = client, table, pool
        self._tenure, self._stop = tenure, stop
        self._failed = threading.Event()
        self._accounts: OrderedDict[str, Fetch | None] = OrderedDict()
        """Accounts asked for: the only fetch that the table holds anything of, or None for any others."""

    def write(self, writes: Sequence[Write]) -> None:
        """Returns when every write is acknowledged, or refused because a newer item is there. SinkError."""
        for wave in waves(writes):
            self._ask(wave)
            fresh, others = self._split(wave)
            requests: list[Callable[[], None]] = [
                partial(self._insert, chunk) for chunk in _chunks(interleaved(fresh))
            ]
            requests += [partial(self._put_each, chunk) for chunk in _chunks(interleaved(others))]
            self._all(requests)
        while len(self._accounts) > _ACCOUNTS:
            self._accounts.popitem(last=False)  # if it comes again, the table is asked again

    def forget(self) -> None:
        """Others may write what is known here to be absent."""
        self._accounts.clear()

    def _ask(self, wave: Sequence[Write]) -> None:
        """Learns of each account that is new here whether the table holds anything of it."""
        new = {write.did: write.fetch for write in reversed(wave) if write.did not in self._accounts}
        absent = self._all([partial(self._is_absent, did) for did in new])
        for (did, fetch), nothing in zip(new.items(), absent, strict=True):
            self._accounts[did] = fetch if nothing else None

    def _split(self, wave: Sequence[Write]) -> tuple[list[Write], list[Write]]:
        """What may go in batches, and what may not. Rows of two fetches can alternate in a partition: from
        the second one's first row on, neither may."""
        fresh, others = [], []
        for write in wave:
            if self._accounts[write.did] == write.fetch:
                fresh.append(write)
            else:
                self._accounts[write.did] = None
                others.append(write)
        return fresh, others

    def _is_absent(self, did: str) -> bool:
        answer = self._patiently(
            lambda: self._client.query(
                TableName=self._table,
                KeyConditionExpression="#did = :did",
                ExpressionAttributeNames={"#did": HASH_KEY},
                ExpressionAttributeValues={":did": {"S": did}},
                Limit=1,
                Select="COUNT",
                ConsistentRead=True,
            )
        )
        return answer["Count"] == 0

    def _insert(self, writes: Sequence[Write]) -> None:
        left = list(writes)
        patience = Patience(self._table, self._stop, self._failed)
        while left:
            statements = [self._statement(write.item) for write in left]
            answer = self._once(partial(self._client.batch_execute_statement, Statements=statements))
            before = len(left)
            if answer is not None:
                codes = [self._code(answered) for answered in answer["Responses"]]
                there = [write for write, code in zip(left, codes, strict=True) if code == _THERE]
                left = [write for write, code in zip(left, codes, strict=True) if code in _PASSING_OF_ONE]
                self._put_each(there)
            if left:
                patience.wait(progress=len(left) < before)

    def _statement(self, item: Item) -> BatchStatementRequestTypeDef:
        values = ", ".join(f"'{name}': ?" for name in item)
        return {
            "Statement": f'INSERT INTO "{self._table}" VALUE {{{values}}}',
            "Parameters": list(item.values()),
        }

    def _code(self, answered: BatchStatementResponseTypeDef) -> str | None:
        """What kept one statement of a batch from being done, if it may be done yet. SinkError if not."""
        error = answered.get("Error")
        if error is None:
            return None
        code = str(error.get("Code"))
        if code != _THERE and code not in _PASSING_OF_ONE:
            said: Any = {"Error": {"Code": f"{code}Exception", "Message": error.get("Message", "")}}
            raise explained(self._table, ClientError(said, "BatchExecuteStatement"))
        return code

    def _put_each(self, writes: Sequence[Write]) -> None:
        for write in writes:
            self._patiently(partial(self._put, write.item))

    def _put(self, item: Item) -> bool:
        try:
            self._client.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression=NOT_OLDER,
                ExpressionAttributeNames=NOT_OLDER_NAMES,
                ExpressionAttributeValues=condition_values(item),
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False  # what is there is newer
        return True

    def _patiently(self, request: Callable[[], T]) -> T:
        patience = Patience(self._table, self._stop, self._failed)
        while (answer := self._once(request)) is None:
            patience.wait()
        return answer

    def _once(self, request: Callable[[], T]) -> T | None:
        """The answer, or None where the same request may succeed later. SinkError where it never will."""
        self._tenure.check()
        try:
            return request()
        except HTTPClientError:
            return None
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if error.response.get("Error", {}).get("Code") in _PASSING or status >= 500:
                return None
            raise explained(self._table, error) from error

    def _all(self, requests: Sequence[Callable[[], T]]) -> list[T]:
        """Runs them beside each other; what they return, in order. The first error ends all."""
        futures: list[Future[T]] = [self._pool.submit(request) for request in requests]
        done, pending = wait(futures, return_when=FIRST_EXCEPTION)
        if any(future.exception() for future in done):
            self._failed.set()
            for future in pending:
                future.cancel()
        return [future.result() for future in futures if not future.cancelled()]


class Patience:
    """Exponential backoff with full jitter, endless unless the process is told to stop."""

    def __init__(self, table: str, stop: threading.Event, failed: threading.Event) -> None:
        self._table, self._stop, self._failed = table, stop, failed
        self._longest = _FIRST_PAUSE
        self._stopping_since: float | None = None

    def wait(self, *, progress: bool = False) -> None:
        """Waits a while. SinkError if the process is to stop and the table takes nothing for long."""
        if progress:
            self._longest = _FIRST_PAUSE
        if self._stop.is_set():
            now = time.monotonic()
            self._stopping_since = self._stopping_since or now
            if now - self._stopping_since > _PATIENCE_AFTER_STOP:
                raise SinkError(f"table {self._table} throttles; rows not stored come again after a restart")
        if self._failed.is_set():
            raise SinkError(f"another write to table {self._table} failed")
        time.sleep(random.uniform(0, self._longest))
        self._longest = min(_LONGEST_PAUSE, 2 * self._longest)


def waves(writes: Iterable[Write]) -> list[list[Write]]:
    """Writes of one key in waves one after the other, so that a later one waits for an earlier one."""
    made: list[list[Write]] = []
    seen: dict[tuple[str, str], int] = defaultdict(int)
    for write in writes:
        turn = seen[write.key]
        seen[write.key] += 1
        if turn == len(made):
            made.append([])
        made[turn].append(write)
    return made


def interleaved(writes: Sequence[Write]) -> list[Write]:
    """Accounts by turns: one key of the table takes no more than 1,000 writes a second."""
    accounts: dict[str, list[Write]] = defaultdict(list)
    for write in writes:
        accounts[write.did].append(write)
    return [write for turn in zip_longest(*accounts.values()) for write in turn if write is not None]


def _chunks(writes: Sequence[Write]) -> list[Sequence[Write]]:
    return [writes[i : i + BATCH] for i in range(0, len(writes), BATCH)]
