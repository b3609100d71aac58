"""Writes to one table: throttled, refused, repeated, in the wrong order; and what is there is never older."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest

from schemas.errors import SinkError
from schemas.settings import DynamoDBSettings
from sinks import table_writer, tables
from sinks.items import item
from sinks.rows import Row
from sinks.table_writer import Fetch, TableWriter, Write, interleaved, waves
from sinks.tenure import Tenure
from tests.sinks.proxy import Proxy, proxied

TOPIC = "0" * 32


def write(
    offset: int,
    *,
    did: str = "did:plc:a",
    key: str = "",
    rev: str = "3l",
    time_us: int = 5,
    topic: str = TOPIC,
) -> Write:
    rkey = key or f"k{offset}"
    row = Row(did, "a.b.c", rkey, "bafy", rev, "create", None, "{}", "commit", "j", time_us, 0, offset, 9)
    return Write(item(row, topic), Fetch("j", time_us))


class Bench:
    """A table of its own behind the proxy."""

    def __init__(self, proxy: Proxy, table: str, pool: ThreadPoolExecutor) -> None:
        self.proxy, self.table, self.pool = proxy, table, pool
        self.client = tables.connect(DynamoDBSettings(endpoint_url=proxy.url))
        tables.create_table(self.client, table)
        self.stop = threading.Event()
        self.tenure = Tenure(3600)
        self.writer = TableWriter(self.client, table, pool, self.tenure, self.stop)
        proxy.operations.clear()

    def successor(self) -> TableWriter:
        return TableWriter(self.client, self.table, self.pool, self.tenure, self.stop)

    def stored(self) -> dict[str, tuple[str, int]]:
        """rkey -> rev and offset."""
        found = self.client.scan(TableName=self.table, ConsistentRead=True)["Items"]
        return {i["rkey"]["S"]: (i["rev"]["S"], int(i["offset"]["N"])) for i in found}


@pytest.fixture
def bench(dynamodb: str, prefix: str) -> Iterator[Bench]:
    with proxied(dynamodb) as proxy, ThreadPoolExecutor(tables.CONNECTIONS) as pool:
        bench = Bench(proxy, f"{prefix}table", pool)
        yield bench
        bench.client.close()


def test_the_first_fetch_of_an_account_goes_in_batches(bench: Bench) -> None:
    bench.writer.write([write(i, did=f"did:plc:{i % 3}") for i in range(60)])
    assert bench.proxy.operations == {"Query": 3, "BatchExecuteStatement": 3}
    bench.writer.write([write(i, did=f"did:plc:{i % 3}") for i in range(60, 90)])
    assert bench.proxy.operations == {"Query": 3, "BatchExecuteStatement": 5}
    assert len(bench.stored()) == 90


def test_a_second_fetch_goes_item_by_item_and_so_does_what_comes_after_it(bench: Bench) -> None:
    bench.writer.write([write(1, time_us=5)])
    bench.writer.write([write(2, time_us=6), write(3, time_us=5)])
    assert bench.proxy.operations == {"Query": 1, "BatchExecuteStatement": 1, "PutItem": 2}


def test_after_an_assignment_the_table_is_asked_again(bench: Bench) -> None:
    bench.writer.write([write(1)])
    bench.writer.forget()
    bench.writer.write([write(2)])
    assert bench.proxy.operations == {"Query": 2, "BatchExecuteStatement": 1, "PutItem": 1}


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (write(1, key="k", rev="3l"), write(2, key="k", rev="3m"), ("3m", 2)),
        (write(1, key="k", rev="3m"), write(2, key="k", rev="3l"), ("3m", 1)),
        (write(1, key="k", rev="3l"), write(2, key="k", rev="3l"), ("3l", 2)),
        (write(2, key="k", rev="3l"), write(1, key="k", rev="3l"), ("3l", 2)),
        (write(2, key="k", rev="3l"), write(2, key="k", rev="3l"), ("3l", 2)),
        (write(1, key="k", rev=""), write(2, key="k", rev="3l"), ("3l", 2)),
        (write(1, key="k", rev="3l"), write(2, key="k", rev=""), ("3l", 1)),
        (write(1, key="k", rev=""), write(2, key="k", rev=""), ("", 2)),
        (write(9, key="k", rev="3l"), write(1, key="k", rev="3l", topic="1" * 32), ("3l", 1)),
    ],
)
def test_what_is_there_is_never_replaced_by_an_older_version(
    bench: Bench, first: Write, second: Write, kept: tuple[str, int]
) -> None:
    bench.writer.write([first])
    bench.successor().write([second])
    assert bench.stored() == {"k": kept}


def test_of_one_key_in_one_block_the_newer_wins_though_the_older_is_throttled(bench: Bench) -> None:
    bench.proxy.throttle(4, "BatchExecuteStatement")
    older, newer = write(1, key="k", rev="3l", time_us=5), write(2, key="k", rev="3m", time_us=6)
    bench.writer.write([older, newer])
    assert bench.stored() == {"k": ("3m", 2)}


def test_throttled_statements_are_sent_again_until_none_is_left(bench: Bench) -> None:
    bench.proxy.halving = True
    bench.writer.write([write(i) for i in range(50)])
    assert sorted(offset for _, offset in bench.stored().values()) == list(range(50))
    assert bench.proxy.operations["BatchExecuteStatement"] == 10  # 25, 12, 6, 3, 1 left, twice


@pytest.mark.parametrize("operation", ["Query", "BatchExecuteStatement", "PutItem"])
def test_throttled_requests_are_repeated(bench: Bench, operation: str) -> None:
    bench.writer.write([write(0, did="did:plc:old")])
    bench.proxy.throttle(3, operation)
    bench.successor().write([write(1, did="did:plc:old"), write(2, did="did:plc:new")])
    assert len(bench.stored()) == 3


def test_a_server_error_is_passing(bench: Bench) -> None:
    answers = iter([(500, {"__type": "InternalServerError"}), (503, {})])
    bench.proxy.fault = lambda operation, body: next(answers, None)
    bench.writer.write([write(1)])
    assert len(bench.stored()) == 1


def test_denied_access_is_explained(bench: Bench) -> None:
    denied = 400, {"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "no"}
    bench.proxy.fault = lambda operation, body: denied if operation == "PutItem" else None
    bench.writer.write([write(1)])
    with pytest.raises(SinkError, match=r"denies access to table .* PutItem and PartiQLInsert"):
        bench.writer.write([write(2, time_us=6)])


def test_a_table_that_vanishes_is_named(bench: Bench) -> None:
    bench.client.delete_table(TableName=bench.table)
    with pytest.raises(SinkError, match=f"run `skyfill tables create {bench.table}`"):
        bench.writer.write([write(1)])


def test_told_to_stop_it_does_not_wait_for_a_table_that_throttles_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_writer, "_PATIENCE_AFTER_STOP", 0.3)
    bench.proxy.throttle(10**6, "BatchExecuteStatement")
    bench.stop.set()
    with pytest.raises(SinkError, match="come again"):
        bench.writer.write([write(i) for i in range(60)])


@pytest.mark.parametrize(
    ("meanwhile", "kept"), [("3m", ("3m", 9)), ("3k", ("3l", 2)), ("3l", ("3l", 9)), ("", ("3l", 2))]
)
def test_what_another_stored_meanwhile_is_replaced_only_if_it_is_older(
    bench: Bench, meanwhile: str, kept: tuple[str, int]
) -> None:
    bench.writer.write([write(1)])  # it knows that nothing else is there of the account
    bench.successor().write([write(9, key="k", rev=meanwhile, time_us=6)])
    bench.writer.write([write(2, key="k"), write(3)])
    assert bench.proxy.operations["BatchExecuteStatement"] == 2
    assert bench.stored() == {"k1": ("3l", 1), "k": kept, "k3": ("3l", 3)}


def test_what_is_refused_of_one_statement_is_explained(bench: Bench) -> None:
    denied = {"Responses": [{"Error": {"Code": "AccessDenied", "Message": "no"}}]}
    bench.proxy.fault = lambda operation, body: (200, denied) if "Batch" in operation else None
    with pytest.raises(SinkError, match=r"denies access to table .* PartiQLInsert"):
        bench.writer.write([write(1)])


def test_after_a_standstill_nothing_is_written_at_all(bench: Bench) -> None:
    class Ended(Exception):
        pass

    def end(reason: str) -> NoReturn:
        raise Ended(reason)

    now = [0.0]
    bench.writer._tenure = Tenure(10, end=end, clock=lambda: now[0])
    now[0] = 11.0
    with pytest.raises(Ended):
        bench.writer.write([write(1)])
    assert not bench.proxy.operations


def test_writes_of_one_key_wait_for_each_other() -> None:
    first, second, other = write(1, key="k"), write(2, key="k"), write(3)
    assert waves([first, other, second]) == [[first, other], [second]]


def test_accounts_take_turns() -> None:
    a, b = [write(i, did="a") for i in range(3)], [write(i, did="b") for i in range(2)]
    assert [w.did for w in interleaved(a + b)] == ["a", "b", "a", "b", "a"]
