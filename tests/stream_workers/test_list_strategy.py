"""Strategy `list` against strategy `repo` of the same accounts: the same events, or none. And against hosts
whose pages are not what they should be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from atp.tid import from_microseconds
from local.network.faults import (
    Changing,
    Fault,
    HiddenLimit,
    HostDown,
    InvalidRecord,
    Moved,
    ServerError,
    Unavailable,
)
from local.network.network import Network
from local.network.repo import cid_of, cid_text, encode_record
from schemas.dids import DidTask
from stream_workers.fetch.ending import Ending, Failed, Fetched, Requeued, Retry
from stream_workers.fetch.selection import Selection
from tests.atp.hosts import Handler, serving
from tests.stream_workers.documents import DID, job_spec
from tests.stream_workers.place import (
    DESCRIBE,
    GET_RECORD,
    GET_REPO,
    LATEST,
    LIST,
    PLENTY,
    POST,
    PROFILE,
    SIZE,
    Place,
    plain,
)


def write_oddities(network: Network, number: int) -> None:
    """Backdated posts, keys that are no TIDs, odd values."""
    for key, record in {
        f"{POST}/3l2aaaaaaaa2b": {"text": "dated back", "createdAt": "2019-01-01T00:00:00Z"},
        f"{POST}/my-own:key_~.1": {"text": "no TID", "createdAt": "2025-02-03T04:05:06.789Z"},
        f"{POST}/ABC": {"text": "sorts first", "createdAt": "2025-02-03T04:05:06.789Z", "n": -(2**62)},
        f"{POST}/zzz": {
            "text": "sorts last",
            "b": {"$bytes": "AAEC"},
            "nothing": None,
            "list": [1, "ü🚀", []],
        },
        f"{PROFILE}/self": {"displayName": "self", "createdAt": "2025-02-03T00:00:00Z"},
        "app.bsky.feed/short": {"text": "a collection that sorts before its longer ones"},
        "app.bsky.feed.postgate/3l2aaaaaaaa2b": {"text": "a collection that sorts after"},
    }.items():
        network.write(number, key, record)


@pytest.mark.parametrize(
    ("selected", "some"),
    [
        ({}, True),
        ({"record_types": ["post"]}, True),
        ({"record_types": ["reply", "app.bsky.graph.*"]}, True),
        ({"record_types": ["com.example.nothing"]}, False),
        ({"time_range": {"start_date": "2025-01-01", "end_date": "2025-03-31"}}, True),
        ({"time_range": {"start_date": "2025-01-01", "end_date": "2025-03-31", "by": "rkey"}}, True),
        ({"time_range": {"start_date": "2025-01-01", "end_date": "2025-03-31", "margin_days": 30}}, True),
        ({"time_range": {"end_date": "2024-12-31", "by": "rkey"}}, True),
        ({"time_range": {"start_date": "2026-01-01", "by": "rkey"}}, True),
        ({"time_range": {"start_date": "2031-01-01", "by": "rkey"}}, False),
    ],
)
async def test_pages_give_the_same_events_as_the_repository(
    place: Place, selected: dict[str, Any], some: bool
) -> None:
    for number in range(3):
        write_oddities(place.network, number)
        await place.network.inject(InvalidRecord(number))
        task = place.task(number)
        listed = await place.events(task, **selected)
        assert listed == await place.events(task, "repo", **selected)
        assert bool(listed) is some or number != 0


async def test_what_has_no_json_is_set_aside_as_from_a_repository(place: Place) -> None:
    await place.network.inject(InvalidRecord(0))
    listed, whole = await place.go(place.task()), await place.go(place.task(), "repo")
    assert isinstance(listed, Fetched)
    assert isinstance(whole, Fetched)
    (left,), (right,) = listed.events.broken, whole.events.broken
    assert (left.reason, left.uri) == (right.reason, right.uri) == ("invalid", left.uri)
    assert listed.events.dropped == whole.events.dropped == {"invalid": 1}
    assert (listed.rev, listed.commit) == (whole.rev, whole.commit)


@pytest.mark.parametrize("count", [3, 60])
async def test_records_named_by_uri(place: Place, count: int) -> None:
    """A few are asked for one by one; many, or one that is not there, change nothing in what comes."""
    task = place.task()
    every = await place.events(task, "repo")
    keys = [f"{e['commit']['collection']}/{e['commit']['rkey']}" for e in every[:: SIZE // count]]
    uris = [f"at://{task.did}/{key}" for key in [*keys, f"{POST}/3l2gone"]]
    uris.append(f"at://{DID}/{POST}/3l2gone")
    listed = await place.events(task, uris=uris)
    assert len(listed) == len(keys)
    assert listed == await place.events(task, "repo", uris=uris)
    if count == 3:
        assert (place.asked(GET_RECORD), place.asked(LIST)) == (len(keys) + 1, 0)
    else:
        assert (place.asked(GET_RECORD), place.asked(LIST) > 0) == (0, True)


async def test_only_wanted_collections_are_asked_for(place: Place) -> None:
    posts = await place.events(place.task(), record_types=["post", "reply"])
    assert len(posts) > 100
    # An empty page ends a collection of which a page was full.
    assert place.asked(LIST) == len(posts) // 100 + 2
    assert (place.asked(DESCRIBE), place.asked(LATEST), place.asked(GET_REPO)) == (1, 2, 0)


@pytest.mark.parametrize(
    "how", [{"by": "rkey"}, {"by": "created_at", "margin_days": 0}], ids=["rkey", "margin"]
)
async def test_a_window_asks_for_its_own_pages_only(place: Place, how: dict[str, Any]) -> None:
    task, days = place.task(), {"start_date": "2025-03-01", "end_date": "2025-05-31"}
    everything = await place.events(task, "repo", record_types=["app.bsky.feed.like"])
    assert len(everything) > 250
    selected = {"record_types": ["app.bsky.feed.like"], "time_range": days | how}
    likes = await place.events(task, **selected)
    assert 10 < len(likes) < 100
    # The newest page shows that cursors are keys; the window fits one page, which reaches below it.
    assert place.asked(LIST) == 2
    assert await place.events(task, **selected) == likes
    assert place.asked(LIST) == 3  # by now the host is known
    await place.events(task, record_types=["app.bsky.feed.like"], time_range=days)
    assert place.asked(LIST) == 3 + len(everything) // 100 + 2  # a createdAt may stand at any key


@pytest.mark.parametrize("changes", [1, 2])
async def test_a_repository_that_changes_meanwhile_is_listed_anew(place: Place, changes: int) -> None:
    await place.network.inject(Changing(0, first=changes))
    task = place.task()
    listed = await place.events(task, record_types=["post", "reply"])
    assert place.asked(LATEST) == 3
    assert listed == await place.events(task, "repo", record_types=["post", "reply"])
    assert sum("written meanwhile" in event["commit"]["record"]["text"] for event in listed) == changes


async def test_one_that_never_rests_is_tried_again_later(place: Place) -> None:
    await place.network.inject(Changing(0))
    ending = await place.go(place.task(), record_types=["post"])
    assert isinstance(ending, Retry)
    assert (ending.error_type, ending.reason) == ("fetch_failed", "RepoChanging")
    assert "strategy `repo`" in ending.detail


@pytest.mark.parametrize(
    ("fault", "expected", "reason"),
    [
        (Unavailable(0, "takendown"), Failed, "RepoTakendown"),
        (Unavailable(0, "deactivated"), Failed, "RepoDeactivated"),
        (Unavailable(0, "not_found"), Failed, "RepoNotFound"),
        (ServerError(account=0), Retry, "UnexpectedResponse"),
        (HiddenLimit(0, limit=0), Retry, "RateLimited"),
        (HostDown(0), Retry, "HostUnreachable"),
        (Moved(0, to_host=1), Requeued, ""),
    ],
)
async def test_a_host_that_does_not_list(
    place: Place, fault: Fault, expected: type[Ending], reason: str
) -> None:
    await place.network.inject(fault)
    ending = await place.go(place.task())
    assert isinstance(ending, expected)
    if isinstance(ending, Failed | Retry):
        assert ending.reason == reason
    if isinstance(ending, Requeued):
        moved = ending.task.model_copy(update={"job_id": "job"})
        assert moved.pds == place.network.hosts[1]
        assert await place.events(moved)


async def test_what_does_not_fit_in_memory_is_read_from_its_file(place: Place) -> None:
    place.fetcher = place.make(1000)
    spec = job_spec("job", processing={"strategy": "list", "requests_per_second": 1000})
    ending = await place.fetcher.fetch(place.task(), spec, Selection(spec.backfill), place.limiter)
    assert isinstance(ending, Fetched)
    assert (ending.messages, place.budget.used) == (None, 0)
    found = [plain(message) for message in ending.events]
    ending.spool.close()
    place.fetcher = place.make(PLENTY)
    assert found == await place.events(place.task(), "repo")


# Hosts of another kind


class Pages:
    """A host with records of one collection, whose cursors and manners are the test's to choose."""

    def __init__(self, count: int) -> None:
        self.keys = [from_microseconds(1_740_000_000_000_000 + n * 86_400_000_000) for n in range(count)][
            ::-1
        ]
        self.asked: list[str | None] = []
        self.refuse: set[int] = set()
        self.rev = "3lbcv7quuzs2a"

    def record(self, rkey: str) -> dict[str, Any]:
        value = {"text": f"under {rkey}", "createdAt": "2025-01-01T00:00:00Z"}
        name = cid_text(cid_of(encode_record(value)))
        return {"uri": f"at://{DID}/{POST}/{rkey}", "cid": name, "value": value}

    def page(self, cursor: str | None) -> dict[str, Any]:
        """By record keys, as they should be."""
        rest = [key for key in self.keys if cursor is None or key < cursor][:100]
        more = {"cursor": rest[-1]} if len(rest) == 100 else {}
        return {"records": [self.record(key) for key in rest], **more}

    @property
    def handler(self) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            method = request.path.removeprefix("/xrpc/")
            if method == LIST:
                self.asked.append(request.query.get("cursor"))
                if len(self.asked) in self.refuse:
                    return web.json_response({"error": "RateLimitExceeded", "message": ""}, status=429)
                return web.json_response(self.page(request.query.get("cursor")))
            body: dict[str, Any] = {"collections": [POST, 7, POST]}
            return web.json_response(body if method == DESCRIBE else {"cid": "bafy", "rev": self.rev})

        return handle


class Numbered(Pages):
    """Its cursors are numbers of places."""

    def page(self, cursor: str | None) -> dict[str, Any]:
        start = int(cursor) if cursor and cursor.isdigit() else 0
        rest = self.keys[start : start + 100]
        more = {"cursor": str(start + 100)} if start + 100 < len(self.keys) else {}
        return {"records": [self.record(key) for key in rest], **more}


class Feigned(Pages):
    """Its cursors look like keys; any that it has not given itself begins anew."""

    def page(self, cursor: str | None) -> dict[str, Any]:
        return super().page(cursor if cursor in self.keys else None)


class Ascending(Pages):
    """The oldest first, whatever it is asked."""

    def page(self, cursor: str | None) -> dict[str, Any]:
        rest = [key for key in self.keys[::-1] if cursor is None or key > cursor][:100]
        more = {"cursor": rest[-1]} if len(rest) == 100 else {}
        return {"records": [self.record(key) for key in rest], **more}


async def go_to(place: Place, pages: Pages, **fields: Any) -> Ending:
    async with serving(pages.handler) as host:
        task = DidTask(job_id="job", did=DID, pds=host.url, signing_key="did:key:z")
        return await place.go(task, **fields)


def keys_of(ending: Ending) -> list[str]:
    assert isinstance(ending, Fetched), ending
    assert ending.messages is not None
    return [orjson.loads(message)["commit"]["rkey"] for message in ending.messages]


@pytest.mark.parametrize(("kind", "requests"), [(Pages, 2), (Numbered, 6), (Feigned, 7), (Ascending, 6)])
async def test_a_cursor_is_trusted_only_if_it_is_a_key(
    place: Place, kind: Callable[[int], Pages], requests: int
) -> None:
    """Days 100 to 119 of 550, newest first: the keyed host's window lies on its fourth page."""
    pages = kind(550)
    days = {"start_date": "2025-06-01", "end_date": "2025-06-20", "by": "rkey"}
    ending = await go_to(place, pages, time_range=days)
    assert len(keys_of(ending)) == 20
    assert len(pages.asked) == requests


async def test_a_refused_page_is_asked_for_again_and_no_other(place: Place) -> None:
    pages = Pages(350)
    pages.refuse = {2, 3, 5}
    assert keys_of(await go_to(place, pages)) == pages.keys[::-1]
    assert len(pages.asked) == 4 + 3
    assert pages.asked[0] is None
    assert pages.asked[1] == pages.asked[2] == pages.asked[3]


async def test_a_record_that_is_not_what_its_cid_names_is_set_aside(place: Place) -> None:
    class Lying(Pages):
        def record(self, rkey: str) -> dict[str, Any]:
            said = super().record(rkey)
            if rkey == self.keys[1]:
                said["value"]["text"] = "forged"
            if rkey == self.keys[2]:
                said["cid"] = "bafynonsense"
            return said

    pages = Lying(5)
    ending = await go_to(place, pages)
    assert keys_of(ending) == [pages.keys[4], pages.keys[3], pages.keys[0]]
    assert isinstance(ending, Fetched)
    assert ending.events.dropped == {"cid_mismatch": 2}
    nonsense, forged = ending.events.broken
    assert (forged.stage, forged.error_type, forged.reason) == ("record", "validation_failed", "CidMismatch")
    assert forged.uri == f"at://{DID}/{POST}/{pages.keys[1]}"
    assert "bafynonsense" in nonsense.detail


@pytest.mark.parametrize(
    "page",
    [
        {"records": ["no record"]},
        {"records": [{"uri": f"at://{DID}/{POST}/3l2", "cid": "bafy"}]},
        {"records": [{"uri": f"at://did:plc:other/{POST}/3l2", "cid": "bafy", "value": {}}]},
        {"records": [{"uri": f"at://{DID}/app.bsky.feed.like/3l2", "cid": "bafy", "value": {}}]},
        {"records": [], "cursor": "and so on"},
        {"records": [{"uri": f"at://{DID}/{POST}/3l2", "cid": "bafy", "value": {}}], "cursor": "round"},
        {"no records": True},
    ],
)
async def test_pages_that_lead_nowhere(place: Place, page: dict[str, Any]) -> None:
    pages = Pages(1)
    pages.page = lambda cursor: page  # type: ignore[method-assign]
    ending = await go_to(place, pages)
    assert isinstance(ending, Retry)
    assert ending.reason == "NotAtproto"
    assert len(pages.asked) <= 2


@pytest.mark.parametrize("rev", ["", "zzzzzzzzzzzzz", "3lrev", from_microseconds(4_000_000_000_000_000)])
async def test_a_rev_that_would_outlast_all_others_is_refused(place: Place, rev: str) -> None:
    pages = Pages(3)
    pages.rev = rev
    ending = await go_to(place, pages)
    assert isinstance(ending, Failed)
    assert "a rev that can't be" in ending.detail
    assert pages.asked == []
