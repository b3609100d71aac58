"""Strategy `repo` against hosts that send a good repository in odd ways, or a part of it as the whole."""

from __future__ import annotations

import gzip

import pytest
from aiohttp import web

from atp.car import Car
from local.network.keys import did_key, key_from_seed
from local.network.repo import build_repository
from schemas.dids import DidTask
from stream_workers.fetch.ending import Ending, Fetched, Retry
from tests.atp.hosts import Handler, serving
from tests.stream_workers.documents import DID
from tests.stream_workers.place import Place

KEY = key_from_seed(3, 3)
POSTS = {f"app.bsky.feed.post/{n}": {"text": f"post {n}"} for n in range(100)}
CAR = build_repository(DID, KEY, dict(POSTS), "3lbcv7quuzs2a").car()


def last_block(car: bytes) -> int:
    """Where the last block begins, its length before it included."""
    blocks = Car(car)
    return len(car) - len(blocks.data(len(blocks) - 1)) - 37


def answering(body: bytes, **headers: str) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(body)
        return response

    return handle


async def go_to(place: Place, url: str) -> Ending:
    return await place.go(DidTask(job_id="job", did=DID, pds=url, signing_key=did_key(KEY)), "repo")


async def test_a_compressed_repository(place: Place) -> None:
    packed = gzip.compress(CAR)
    async with serving(answering(packed, **{"Content-Encoding": "gzip"})) as host:
        ending = await go_to(place, host.url)
    assert isinstance(ending, Fetched)
    assert ending.size == len(CAR)
    assert ending.events.records == {"app.bsky.feed.post": len(POSTS)}


@pytest.mark.parametrize(
    ("part", "reason", "requests"),
    [
        (CAR[: len(CAR) // 2], "CarTruncated", 1),
        (CAR[:30], "CarTruncated", 1),
        (b"", "NotAtproto", 1),
        (CAR[: last_block(CAR)], "BlockMissing", 3),
    ],
)
async def test_a_part_that_ends_as_if_it_were_all(
    place: Place,
    part: bytes,
    reason: str,
    requests: int,
) -> None:
    async with serving(answering(part)) as host:
        ending = await go_to(place, host.url)
        assert len(host.requests) == requests
    assert isinstance(ending, Retry)
    assert ending.reason == reason


@pytest.mark.parametrize("length", [100, 1000, 2000])
async def test_a_compressed_part(place: Place, length: int) -> None:
    part = gzip.compress(CAR)[:length]
    async with serving(answering(part, **{"Content-Encoding": "gzip"})) as host:
        ending = await go_to(place, host.url)
    assert isinstance(ending, Retry)
    assert ending.reason in ("CarTruncated", "BlockMissing", "HostUnreachable")


async def test_redirects_lead_to_the_repository_or_to_an_end(place: Place) -> None:
    async with serving(answering(CAR)) as target:

        async def redirect(request: web.Request) -> web.StreamResponse:
            hops = int(request.query.get("hops", "0"))
            if hops < 3:
                return web.Response(status=302, headers={"Location": f"/?hops={hops + 1}"})
            return web.Response(status=307, headers={"Location": f"{target.url}{request.path_qs}"})

        async def round_and_round(request: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": "/again"})

        async with serving(redirect) as host:
            assert isinstance(await go_to(place, host.url), Fetched)
            assert (len(host.requests), len(target.requests)) == (4, 1)
        async with serving(round_and_round) as host:
            ending = await go_to(place, host.url)
            assert isinstance(ending, Retry)
            assert "redirects more than 5 times" in ending.detail
            assert len(host.requests) == 6
