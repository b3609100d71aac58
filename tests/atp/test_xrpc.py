"""XRPC: a host's answer is a value or one typed error, and always with its headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from atp.xrpc import Client, retry_after
from schemas.errors import (
    AddressForbidden,
    HostTimeout,
    HostUnreachable,
    RateLimited,
    RecordNotFound,
    RepoDeactivated,
    RepoNotFound,
    RepoSuspended,
    RepoTakendown,
    UnexpectedResponse,
    XrpcError,
)
from tests.atp.builder import DID
from tests.atp.hosts import Handler, serving, serving_bytes

COLLECTION = "app.bsky.feed.post"
HEADERS = {"RateLimit-Limit": "3000", "RateLimit-Remaining": "17"}


def client(timeout: float = 5.0) -> Client:
    return Client(user_agent="tests/1", allow_private_hosts=True, timeout=timeout)


def answering(body: Any, status: int = 200, headers: Mapping[str, str] = HEADERS) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        if isinstance(body, bytes):
            return web.Response(body=body, status=status, headers=headers)  # of no named type
        if isinstance(body, str):
            return web.Response(text=body, status=status, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    return handle


# Values


async def test_a_page_of_records() -> None:
    page = {"records": [{"uri": "at://…", "cid": "bafy", "value": {}}], "cursor": "3l"}
    async with serving(answering(page)) as host, client() as asking:
        answer = await asking.list_records(host.url, DID, COLLECTION, limit=50, cursor="3k", reverse=True)
        await asking.list_records(host.url, DID, COLLECTION)
    assert answer.body == page
    assert answer.headers["ratelimit-remaining"] == "17"
    path = f"/xrpc/com.atproto.repo.listRecords?repo={DID}&collection={COLLECTION}"
    assert host.paths == [f"{path}&limit=50&cursor=3k&reverse=true", f"{path}&limit=100"]
    assert host.requests[0].headers["User-Agent"] == "tests/1"


async def test_the_latest_commit() -> None:
    async with serving(answering({"cid": "bafy", "rev": "3l"})) as host, client() as asking:
        assert (await asking.get_latest_commit(host.url, DID)).body["rev"] == "3l"
    assert host.paths == [f"/xrpc/com.atproto.sync.getLatestCommit?did={DID}"]


async def test_a_described_repo() -> None:
    async with serving(answering({"collections": [COLLECTION]})) as host, client() as asking:
        assert (await asking.describe_repo(host.url, DID)).body["collections"] == [COLLECTION]
    assert host.paths == [f"/xrpc/com.atproto.repo.describeRepo?repo={DID}"]


async def test_a_resolved_handle() -> None:
    async with serving(answering({"did": DID})) as host, client() as asking:
        assert (await asking.resolve_handle(host.url, "alice.test")).body["did"] == DID
    assert host.paths == ["/xrpc/com.atproto.identity.resolveHandle?handle=alice.test"]


async def test_any_query() -> None:
    async with serving(answering({"repos": []})) as host, client() as asking:
        answer = await asking.query(f"{host.url}/", "com.atproto.sync.listRepos", {"limit": 1000})
    assert answer.body == {"repos": []}
    assert host.paths == ["/xrpc/com.atproto.sync.listRepos?limit=1000"]


async def test_a_short_text() -> None:
    async with serving(answering(f"{DID}\n")) as host, client() as asking:
        assert await asking.get_text(host.url) == f"{DID}\n"


@pytest.mark.parametrize(("since", "query"), [(None, ""), ("3lbcv7quuzs2a", "&since=3lbcv7quuzs2a")])
async def test_a_repository_comes_in_chunks(since: str | None, query: str) -> None:
    body = bytes(range(256)) * 2000

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        for start in range(0, len(body), 10_000):
            await response.write(body[start : start + 10_000])
        return response

    async with serving(handle) as host, client() as asking:
        async with asking.get_repo(host.url, DID, since) as download:
            assert (download.status, download.headers["RateLimit-Limit"]) == (200, "3000")
            chunks = [chunk async for chunk in download]
        assert b"".join(chunks) == body
        assert len(chunks) > 1
        assert host.paths == [f"/xrpc/com.atproto.sync.getRepo?did={DID}{query}"]


async def test_one_connection_for_many_answers() -> None:
    """Pages, errors and downloads one after the other: each is read to its end, so the connection is kept."""
    ports = set()

    async def handle(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        if request.query.get("cursor") == "wrong":
            return web.json_response({"error": "InvalidRequest", "message": "no"}, status=400)
        if "getRepo" in request.path:
            return web.Response(body=b"x" * 300_000)
        response = web.json_response({"records": [], "cursor": "3l"})
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with serving(handle) as host, client() as asking:
        for _ in range(3):
            answer = await asking.list_records(host.url, DID, COLLECTION)
            assert answer.body == {"records": [], "cursor": "3l"}
            assert answer.headers["Content-Encoding"] == "gzip"
            with pytest.raises(UnexpectedResponse):
                await asking.list_records(host.url, DID, COLLECTION, cursor="wrong")
            async with asking.get_repo(host.url, DID) as download:
                assert sum([len(chunk) async for chunk in download]) == 300_000
        assert len(host.requests) == 9
    assert len(ports) == 1


async def test_a_record_by_its_key() -> None:
    record = {"uri": f"at://{DID}/{COLLECTION}/3l", "cid": "bafy", "value": {}}
    async with serving(answering(record)) as host, client() as asking:
        assert (await asking.get_record(host.url, DID, COLLECTION, "3l")).body == record
    assert host.paths == [f"/xrpc/com.atproto.repo.getRecord?repo={DID}&collection={COLLECTION}&rkey=3l"]


async def test_a_record_that_is_not_there() -> None:
    body = {"error": "RecordNotFound", "message": "Could not locate record: at://…"}
    async with serving(answering(body, 400)) as host, client() as asking:
        with pytest.raises(RecordNotFound) as raised:
            await asking.get_record(host.url, DID, COLLECTION, "3l")
    assert raised.value.status == 400


async def test_a_repository_has_a_largest_size() -> None:
    async with (
        serving(answering(b"x" * 1000)) as host,
        client() as asking,
        asking.get_repo(host.url, DID, limit=999) as download,
    ):
        with pytest.raises(UnexpectedResponse, match="more than 999"):
            [chunk async for chunk in download]


async def test_a_repository_that_is_not_wanted_to_its_end() -> None:
    async with serving(answering(b"x" * 10_000_000)) as host, client() as asking:
        async with asking.get_repo(host.url, DID) as download:
            async for _ in download:
                break
        async with asking.get_repo(host.url, DID) as download:
            assert sum([len(chunk) async for chunk in download]) == 10_000_000


# Errors


@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("error", [RepoNotFound, RepoTakendown, RepoSuspended, RepoDeactivated])
async def test_the_terminal_states_of_a_repository(error: type[XrpcError], status: int) -> None:
    body = {"error": error.__name__, "message": "words"}
    async with serving(answering(body, status)) as host, client() as asking:
        with pytest.raises(error, match="words") as raised:
            async with asking.get_repo(host.url, DID):
                pytest.fail("an error is not a download")
        assert raised.type is error
        assert raised.value.headers is not None
        assert raised.value.headers["ratelimit-remaining"] == "17"
        with pytest.raises(error):
            await asking.get_latest_commit(host.url, DID)


@pytest.mark.parametrize("message", [f"Could not find repo: {DID}", f"Could not find repo for DID: {DID}"])
async def test_older_hosts_say_in_words_that_there_is_no_such_repository(message: str) -> None:
    body = {"error": "InvalidRequest", "message": message}
    async with serving(answering(body, 400)) as host, client() as asking:
        with pytest.raises(RepoNotFound):
            await asking.list_records(host.url, DID, COLLECTION)


async def test_rate_limited() -> None:
    headers = {**HEADERS, "Retry-After": "7"}
    async with serving(answering({"error": "RateLimitExceeded"}, 429, headers)) as host, client() as asking:
        with pytest.raises(RateLimited) as raised:
            await asking.get_latest_commit(host.url, DID)
        assert raised.value.retry_after == 7.0
        assert raised.value.headers is not None
        assert raised.value.headers["RateLimit-Limit"] == "3000"


async def test_rate_limited_without_a_word() -> None:
    async with serving_bytes(b"HTTP/1.1 429 \r\nContent-Length: 0\r\n\r\n") as url, client() as asking:
        with pytest.raises(RateLimited) as raised:
            await asking.get_latest_commit(url, DID)
        assert raised.value.retry_after is None


@pytest.mark.parametrize("status", [201, 204, 304, 400, 401, 403, 404, 410, 500, 502, 503])
@pytest.mark.parametrize(
    "body", ["", "<html>", {"error": "Other"}, {"error": 5, "message": {}}, [1], "1e999"]
)
async def test_any_other_status(status: int, body: Any) -> None:
    if status in (204, 304) and body:
        body = ""
    async with serving(answering(body, status)) as host, client() as asking:
        with pytest.raises(UnexpectedResponse) as raised:
            await asking.get_latest_commit(host.url, DID)
        assert raised.value.status == status
        assert raised.value.headers is not None
        assert raised.value.headers["ratelimit-remaining"] == "17"


async def test_a_server_error_that_names_a_repos_state_says_nothing_of_the_repo() -> None:
    async with serving(answering({"error": "RepoNotFound"}, 500)) as host, client() as asking:
        with pytest.raises(UnexpectedResponse):
            await asking.get_latest_commit(host.url, DID)


async def test_an_error_whose_body_breaks_off_is_still_that_error() -> None:
    broken = b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nContent-Length: 1000\r\n\r\n{"
    async with serving_bytes(broken) as url, client() as asking:
        with pytest.raises(RateLimited) as raised:
            await asking.get_latest_commit(url, DID)
        assert raised.value.retry_after == 3.0


@pytest.mark.parametrize("body", ["", "<html>", "[]", "null", '{"cid": "bafy"}', '{"cid": 1, "rev": "3l"}'])
async def test_200_with_a_body_of_another_kind(body: str) -> None:
    async with serving(answering(body)) as host, client() as asking:
        with pytest.raises(UnexpectedResponse) as raised:
            await asking.get_latest_commit(host.url, DID)
        assert raised.value.status == 200
        assert raised.value.headers is not None


@pytest.mark.parametrize(
    ("call", "body"),
    [
        (lambda c, url: c.list_records(url, DID, COLLECTION), {"records": None}),
        (lambda c, url: c.describe_repo(url, DID), {"collections": "x"}),
        (lambda c, url: c.resolve_handle(url, "alice.test"), {"did": 1}),
        (lambda c, url: c.get_latest_commit(url, DID), {"cid": "bafy", "rev": None}),
    ],
)
async def test_a_field_that_is_missing_is_named(call: Any, body: Any) -> None:
    async with serving(answering(body)) as host, client() as asking:
        with pytest.raises(UnexpectedResponse, match="without a usable field"):
            await call(asking, host.url)


async def test_a_json_body_has_a_largest_size() -> None:
    async with serving(answering(" " * ((32 << 20) + 1))) as host, client() as asking:
        with pytest.raises(UnexpectedResponse, match="more than"):
            await asking.get_json(host.url)


async def test_a_download_that_is_cut_short() -> None:
    cut = b"HTTP/1.1 200 OK\r\nRateLimit-Remaining: 17\r\nContent-Length: 1000\r\n\r\nthe beginning"
    async with serving_bytes(cut) as url, client() as asking, asking.get_repo(url, DID) as download:
        with pytest.raises(HostUnreachable) as raised:
            [chunk async for chunk in download]
        assert raised.value.headers is not None
        assert raised.value.headers["RateLimit-Remaining"] == "17"


@pytest.mark.parametrize("by", ["silence", "total"])
async def test_a_download_that_stalls(by: str) -> None:
    stalled = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe beginning"
    silence, total = (0.1, 60.0) if by == "silence" else (60.0, 0.1)
    async with (
        serving_bytes(stalled, stall=True) as url,
        client(silence) as asking,
        asking.get_repo(url, DID, total=total) as download,
    ):
        with pytest.raises(HostTimeout):
            [chunk async for chunk in download]


async def test_a_host_that_a_stranger_named_is_not_reached_inside() -> None:
    async with serving(answering({})) as host, Client() as asking:
        with pytest.raises(AddressForbidden):
            await asking.get_latest_commit(host.url, DID)
        with pytest.raises(AddressForbidden):
            async with asking.get_repo(host.url, DID):
                pytest.fail("reached")
        assert host.requests == []
        assert (await asking.query(host.url, "com.atproto.sync.listHosts", trusted=True)).body == {}


# Retry-After


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT", "Date": "Fri, 31 Dec 1999 23:58:00 GMT"}, 119.0),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT", "Date": "now"}, 0.0),
        ({"Retry-After": "Fri, 99 Dec 1999 23:59:59 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(CIMultiDict(headers)) == seconds


@given(st.text())
def test_retry_after_takes_any_text(text: str) -> None:
    seconds = retry_after(CIMultiDict({"Retry-After": text}))
    assert seconds is None or seconds >= 0
