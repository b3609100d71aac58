"""Syncs with the simulated directory, over real HTTP: first, later, killed, while it refuses or is away."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from atp.identity import Identity, Resolver
from atp.plc_import import import_file
from atp.plc_mirror import PlcMirror
from atp.plc_sync import PlcSync, Progress
from atp.plc_writer import MirrorWriter
from atp.retry import Backoff
from atp.xrpc import Client
from local.network.faults import Fault, Incomplete, Moved, RateLimited, RotatedKey, ServerError, Tombstoned
from local.network.network import Network
from schemas.errors import DeploymentError, IdentityUnreachable, SkyfillError
from tests.atp.hosts import serving
from tests.atp.plc_rows import TOMBSTONE, line, numbered, timed, update

FAULTS = [
    Moved(2, to_host=1, stale_answers=2),
    RotatedKey(3, stale_answers=0),
    Tombstoned(4),
    Incomplete(5, "key"),
    Incomplete(6, "pds"),
]
FAST = 10_000


class Clock:
    """Seconds since 1970 that pass when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.25
        self.slept: list[float] = []
        self.asleep: Callable[[], Any] = lambda: None

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if asyncio.iscoroutine(waking := self.asleep()):
            await waking
        await asyncio.sleep(0)


def network(*faults: Fault, accounts: int = 40, **more: Any) -> Network:
    return Network(seed=7, accounts=accounts, hosts=3, records=1, faults=faults, **more)


@asynccontextmanager
async def syncing(path: Path, url: str, clock: Clock | None = None, **more: Any) -> Any:
    """A sync, and what it told."""
    clock = clock or Clock()
    told: list[Progress] = []
    with MirrorWriter(path, url) as mirror:
        async with Client() as client:
            arguments = {"per_second": FAST, "clock": clock, "sleep": clock.sleep, "tell": told.append}
            yield PlcSync(mirror, client, **arguments | more), told


async def sync(path: Path, url: str, clock: Clock | None = None, **more: Any) -> Progress:
    async with syncing(path, url, clock, **more) as (one, _):
        done: Progress = await one.run()
        return done


def reading(path: Path) -> PlcMirror:
    """A reader at the time of the syncs."""
    return PlcMirror(path, clock=Clock())


def table(path: Path) -> list[tuple[Any, ...]]:
    """All that is held of all DIDs."""
    columns = "did, seq, created, state, origin, signing_key, words"
    query = f"SELECT {columns} FROM accounts LEFT JOIN hosts ON id = host"
    with closing(sqlite3.connect(path)) as db:
        return sorted(db.execute(query).fetchall())


async def answer_of(resolver: Resolver, did: str) -> tuple[Any, ...]:
    try:
        return tuple(await resolver.resolve(did))
    except SkyfillError as error:
        return type(error), str(error)


async def test_a_mirror_answers_for_every_account_what_the_directory_answers(tmp_path: Path) -> None:
    path = tmp_path / "plc.sqlite"
    async with network(*FAULTS) as running, Client(allow_private_hosts=True) as client:
        done = await sync(path, running.plc_url)
        assert (done.operations, done.caught_up, done.left) == (40 + 2 + 5, True, 0.0)
        with reading(path) as mirror:
            mirrored = Resolver(client, plc_url="http://127.0.0.1:1", mirror=mirror)
            asked = Resolver(client, plc_url=running.plc_url)
            for number, did in enumerate(running.dids):
                for _ in range(2 if number == 2 else 0):
                    await asked.resolve(did, fresh=True)  # the stale answers, which the log does not have
                asked = Resolver(client, plc_url=running.plc_url)
                assert await answer_of(mirrored, did) == await answer_of(asked, did)
            assert mirror.status().dids == 40


async def test_a_later_sync_brings_what_is_new_and_asks_for_no_more(tmp_path: Path) -> None:
    path = tmp_path / "plc.sqlite"
    async with network() as running:
        await sync(path, running.plc_url)
        await running.inject(Moved(9, to_host=2))
        await running.inject(Tombstoned(8))
        before = len(running.ledger.export()["requests"])
        assert (await sync(path, running.plc_url)).operations == 2
        requests = [r["path"] for r in running.ledger.export()["requests"][before:]]
        assert requests == ["/export?after=42&count=1000"]
        with reading(path) as mirror:
            moved = mirror.find(running.dids[9])
            assert isinstance(moved, Identity)
            assert moved.pds == running.hosts[2]
            assert not isinstance(mirror.find(running.dids[8]), Identity)


async def test_following_goes_on_with_what_is_new_and_through_an_outage(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "plc.sqlite"
    async with network() as running:
        steps = iter(
            [
                lambda: running.inject(RotatedKey(1)),
                lambda: running.host_down("plc"),
                lambda: running.inject(Moved(3, to_host=2)),
                lambda: running.host_up("plc"),
                lambda: None,
            ]
        )
        clock.asleep = lambda: next(steps, stop)()
        backoff = Backoff(attempts=1)

        def stop() -> None:
            raise asyncio.CancelledError

        async with syncing(path, running.plc_url, clock, backoff=backoff) as (one, told):
            with pytest.raises(asyncio.CancelledError):
                await one.run(follow=True)
        assert set(clock.slept) == {10.0}
        assert [p.operations for p in told if p.caught_up] == [42, 43, 44, 44]
        assert [bool(p.trouble) for p in told].count(True) == 2
        assert {running.plc_url in p.trouble for p in told if p.trouble} == {True}


# The directory's limits


async def test_never_more_requests_than_are_allowed(tmp_path: Path) -> None:
    clock = Clock()
    async with network(accounts=5500, clock=clock) as running:
        await sync(tmp_path / "plc.sqlite", running.plc_url, clock, per_second=500 / 300)
        times = [request["time"] for request in running.ledger.export()["requests"]]
    assert len(times) == 6
    assert all(abs(later - earlier - 0.6) < 0.001 for earlier, later in pairwise(times))


async def test_the_answers_headers_are_obeyed(tmp_path: Path) -> None:
    clock = Clock()
    limit = RateLimited(host="plc", limit=2, window=300, reset="delta")
    async with network(limit, accounts=3500, clock=clock) as running:
        await sync(tmp_path / "plc.sqlite", running.plc_url, clock)
        requests = running.ledger.export()["requests"]
    assert [request["status"] for request in requests] == [200] * 4
    assert clock.now - 1_790_000_000.25 >= 300


async def test_a_refusal_is_waited_out(tmp_path: Path) -> None:
    clock = Clock()
    limit = RateLimited(host="plc", limit=1, window=300)
    async with network(limit, clock=clock) as running, aiohttp.ClientSession() as neighbour:
        async with neighbour.get(f"{running.plc_url}/export"):
            pass  # it spends the budget of this address
        await sync(tmp_path / "plc.sqlite", running.plc_url, clock)
        requests = running.ledger.export()["requests"]
    assert [request["status"] for request in requests] == [200, 429, 200]
    assert clock.now - 1_790_000_000.25 >= 300


async def test_short_failures_are_waited_out_and_a_long_one_is_told(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "plc.sqlite"
    short = ServerError(host="plc", status=502, first=3)
    async with network(short) as running:
        async with syncing(path, running.plc_url, clock) as (one, told):
            assert (await one.run()).operations == 42
        assert ["502" in progress.trouble for progress in told] == [True] * 3 + [False]
        assert len(clock.slept) >= 3
        await running.withdraw(short)
        await running.inject(ServerError(host="plc", status=500))
        with pytest.raises(IdentityUnreachable, match=r"/export, attempt 8: .*500"):
            await sync(path, running.plc_url, clock)


# What else a directory may answer


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (timed(update(), 1), DeploymentError, r"does not number its operations.*skyfill plc import"),
        (
            numbered(update(), 2) + b"\n" + numbered(update(), 2),
            IdentityUnreachable,
            "row 2 has the number 2",
        ),
        (numbered(update(), 2) + b"\n<html>", IdentityUnreachable, "row 2 is not JSON"),
        (b"\n".join([line(TOMBSTONE, 1, type="new", seq=5)] * 1000), DeploymentError, "only rows of kinds"),
    ],
    ids=["unnumbered", "disorder", "damaged", "unknown"],
)
async def test_an_answer_that_cannot_be_a_log(
    tmp_path: Path, body: bytes, error: type[Exception], words: str
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body)

    path = tmp_path / "plc.sqlite"
    async with serving(answer) as host:
        with pytest.raises(error, match=words):
            await sync(path, host.url)
    with reading(path) as mirror:
        assert mirror.status().operations == 0


async def test_rows_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    rows = [numbered(update(), 1), line({}, 2, type="something", seq=2), numbered(TOMBSTONE, 3)]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"\n".join(rows) + b"\n")

    async with serving(answer) as host:
        done = await sync(tmp_path / "plc.sqlite", host.url)
    assert (done.operations, done.position and done.position.seq) == (3, 3)


async def test_how_long_the_log_is_is_found_out_by_a_few_requests(tmp_path: Path) -> None:
    length = 12_345_678

    async def answer(request: web.Request) -> web.Response:
        after = int(request.query["after"])
        return web.Response(body=numbered(update(), after + 1, at=after) if after < length else b"")

    async with serving(answer) as host, syncing(tmp_path / "plc.sqlite", host.url) as (one, _):
        await one.estimate()
        assert len(host.requests) < 20
        assert abs(one._end - length) < 70_000


# Killed


@pytest.mark.parametrize(
    ("statement", "count"),
    [("INSERT OR REPLACE INTO accounts", 1500), ("UPDATE progress", 2), ("COMMIT", 2), ("BEGIN", 3)],
)
async def test_killed_at_any_instant_it_goes_on_to_the_same_mirror(
    tmp_path: Path, statement: str, count: int
) -> None:
    path, other, prefix = (tmp_path / f"{name}.sqlite" for name in ("killed", "whole", "prefix"))
    async with network(*FAULTS, accounts=2400) as running:
        await killed(path, running.plc_url, statement, str(count))
        with reading(path) as mirror:
            status = mirror.status()
        assert status.position is not None
        assert status.operations == status.position.seq == (2000 if statement == "BEGIN" else 1000)
        (tmp_path / "log.jsonl").write_bytes(await log_of(running, "numbered", status.operations))
        with MirrorWriter(prefix, running.plc_url) as mirror:
            import_file(mirror, tmp_path / "log.jsonl")
        assert table(path) == table(prefix), "it holds what its position says, and nothing else"

        assert (await sync(path, running.plc_url)).operations == 2407 - status.operations
        await sync(other, running.plc_url)
    assert table(path) == table(other)
    assert len(table(path)) == 2400


async def killed(*arguments: object) -> None:
    command = (sys.executable, "-m", "tests.atp.plc_victim", *map(str, arguments))
    victim = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])
    assert await victim.wait() == -signal.SIGKILL


# From a file, then on


async def log_of(running: Network, form: str, count: int = 1000) -> bytes:
    """The first lines of /export, in one of its two forms."""
    lines: list[bytes] = []
    async with aiohttp.ClientSession() as http:
        while len(lines) < count:
            after = {"after": len(lines)} if form == "numbered" else {}
            async with http.get(f"{running.plc_url}/export", params=after) as response:
                page = (await response.read()).splitlines()
            lines += page
            if len(page) < 1000 or not after:
                break
    return b"".join(line + b"\n" for line in lines[:count])


@pytest.mark.parametrize("form", ["numbered", "timed"])
async def test_a_sync_goes_on_where_a_file_ended(tmp_path: Path, form: str) -> None:
    path, other, file = tmp_path / "plc.sqlite", tmp_path / "other.sqlite", tmp_path / "log.jsonl"
    async with network(*FAULTS) as running:
        file.write_bytes(await log_of(running, form))
        for fault in (Moved(10, to_host=2), Tombstoned(11), RotatedKey(2)):
            await running.inject(fault)
        with MirrorWriter(path, running.plc_url) as mirror:
            assert import_file(mirror, file) == (47, 0)
            position = mirror.status().position
            assert position is not None
            assert position.seq == (47 if form == "numbered" else None)
            assert not mirror.status().caught_up
        before = len(running.ledger.export()["requests"])
        await sync(path, running.plc_url)
        asked = [request["path"] for request in running.ledger.export()["requests"][before:]]
        if form == "numbered":
            assert asked == ["/export?after=47&count=1000"]
        await sync(other, running.plc_url)
        with reading(path) as mirror, reading(other) as whole:
            assert len(mirror.find_many(running.dids)) == len(whole.find_many(running.dids)) == 40
            assert mirror.status().position == whole.status().position
    assert table(path) == table(other)
