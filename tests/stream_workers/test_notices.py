"""Notices: what is told and to whom, how one attempt goes against real servers, and what follows from it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook as Verifier

from atp.http import Http
from schemas.explain import explain
from schemas.job_status import JobStatus
from schemas.settings import AlertSettings
from schemas.webhooks import Delivery
from stream_workers.notifier.notices import LOG, Target, event_of, notices, still_true, target_of
from stream_workers.notifier.post import Attempt, Post, after, body_of
from tests.atp.hosts import Names, serving, serving_bytes
from tests.stream_workers.documents import backfill
from tests.stream_workers.notice import REFERENCE, SECRET, status_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CANARY = "canary-query"
HOOKS = {"https://a.example/x", "https://b.example/y"}
FAILED = Attempt("failed", "it answered 500")
REFUSED = Attempt("refused", "it answered 403")


def hook(url: str = "https://hooks.example/x", **more: Any) -> dict[str, Any]:
    return {"url": url, "secret": REFERENCE, **more}


def found(status: JobStatus, alerts: AlertSettings | None = None, **monitoring: Any) -> list[Delivery]:
    document = backfill(monitoring=monitoring)
    return [delivery for delivery, _ in notices(status, document, alerts or AlertSettings(), NOW)]


def a_delivery(**changes: Any) -> Delivery:
    made = found(status_of("j"), webhooks=[hook()])[0]
    return made.model_copy(update=changes)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (status_of("j", "processing"), None),
        (status_of("j", "processing", stale_since=NOW), ("stale", NOW)),
        (status_of("j", "complete", finished_at=NOW), ("complete", NOW)),
        (status_of("j", "error", finished_at=NOW, stale_since=NOW - timedelta(hours=1)), ("error", NOW)),
    ],
)
def test_what_there_is_to_tell(status: JobStatus, told: object) -> None:
    assert event_of(status) == told


@pytest.mark.parametrize(
    ("status", "urls"),
    [
        ("complete", ["https://a.example/x"]),
        ("partial_success", ["https://a.example/x", "https://b.example/y", LOG, "https://alerts.example/z"]),
        ("cancelled", [LOG, "https://alerts.example/z"]),
    ],
)
def test_who_is_told(status: str, urls: list[str]) -> None:
    alerts = AlertSettings(webhook_url=f"https://alerts.example/z?token={CANARY}")
    hooks = [
        hook("https://a.example/x"),
        hook(f"https://b.example/y?key={CANARY}", events=["partial_success"]),
    ]
    told = found(status_of("j", status), alerts, webhooks=hooks)
    assert [delivery.url for delivery in told] == urls
    assert not any(CANARY in delivery.encode().decode() for delivery in told)
    quiet = found(status_of("j", status), alerts, webhooks=hooks, alert_on_failure=False)
    assert [delivery.url for delivery in quiet] == [url for url in urls if url in HOOKS]


def test_a_notices_id_is_made_of_what_it_tells_and_to_whom() -> None:
    status = status_of("j", "error", finished_at=NOW)
    (first,) = found(status, webhooks=[hook()], alert_on_failure=False)
    (again,) = found(status.model_copy(update={"updated_at": NOW}), webhooks=[hook()], alert_on_failure=False)
    assert first.id == again.id
    assert "." not in first.id
    others = [
        found(status.model_copy(update={"finished_at": NOW + timedelta(seconds=1)}), webhooks=[hook()])[0],
        found(status.model_copy(update={"job_id": "k"}), webhooks=[hook()])[0],
        found(status, webhooks=[hook("https://hooks.example/x?a")])[0],
        found(status, webhooks=[hook(secret="${env:OTHER}")])[0],
    ]
    assert len({first.id, *(other.id for other in others)}) == 5


def test_a_delivery_finds_its_receiver_again_or_is_wanted_by_nobody() -> None:
    status = status_of("j", "error")
    document = backfill(monitoring={"webhooks": [hook()]})
    for delivery, target in notices(status, document, AlertSettings(), NOW):
        again = target_of(delivery, document, AlertSettings())
        assert again is not None
        assert (again.url, again.key) == (target.url, target.key)
        assert target_of(delivery, backfill(monitoring={"alert_on_failure": False}), AlertSettings()) is None


def test_a_job_that_goes_on_is_stale_no_longer() -> None:
    stale = status_of("j", "processing", stale_since=NOW)
    (told,) = found(stale, webhooks=[hook()], alert_on_failure=False)
    assert still_true(told, stale)
    assert not still_true(told, status_of("j", "processing"))
    assert not still_true(told, stale.model_copy(update={"stale_since": NOW + timedelta(hours=1)}))
    assert not still_true(told, None)
    assert still_true(a_delivery(), status_of("j", "processing"))


def test_pauses_grow_to_an_hour_and_end_with_the_day() -> None:
    now, delivery, pauses = NOW, a_delivery(), list[float]()
    while delivery.next_at is not None:
        now = delivery.next_at
        delivery = after(delivery, FAILED, now, 0.5)
        pauses.append((delivery.next_at - now).total_seconds() if delivery.next_at else 0)
    assert pauses[:6] == [5, 20, 80, 320, 1280, 3600]
    assert set(pauses[6:-1]) == {3600}
    assert 20 <= len(pauses) <= 35
    assert delivery.detail == "it answered 500"
    assert delivery.first_at == NOW
    assert now - NOW <= timedelta(days=1)


@pytest.mark.parametrize(
    ("attempt", "attempts", "goes_on"),
    [
        (REFUSED, 0, True),
        (REFUSED, 3, True),
        (REFUSED, 4, False),
        (Attempt("gone"), 0, False),
        (FAILED, 4, True),
    ],
)
def test_what_is_refused_is_tried_a_few_times_only(attempt: Attempt, attempts: int, goes_on: bool) -> None:
    ended = after(a_delivery(attempts=attempts, first_at=NOW), attempt, NOW, 0.5)
    assert (ended.next_at is not None, ended.attempts, ended.delivered_at) == (goes_on, attempts + 1, None)


def test_a_receiver_that_wants_to_be_left_alone_is() -> None:
    ended = after(a_delivery(), Attempt("failed", wish=900), NOW, 0.5)
    assert ended.next_at == NOW + timedelta(seconds=900)
    greedy = after(a_delivery(), Attempt("failed", wish=1e9), NOW, 0.5)
    assert greedy.next_at == NOW + timedelta(hours=6)


async def attempt(url: str, http: Http, *, now: datetime | None = None, **more: Any) -> Attempt:
    secret = more.pop("secret", lambda: SECRET)
    post = Post(http, now=lambda: now or datetime.now(UTC), seconds=0.5)
    return await post.attempt(a_delivery(), Target(url, "key", secret, **more))


@pytest.fixture
def http() -> Http:
    return Http(user_agent="tests", allow_private_hosts=True)


async def test_a_notice_is_signed_and_says_what_happened(http: Http) -> None:
    seen: list[tuple[bytes, dict[str, str]]] = []

    async def receive(request: web.Request) -> web.Response:
        seen.append((await request.read(), dict(request.headers)))
        return web.Response(status=202, text="thanks")

    async with http, serving(receive) as host:
        assert await attempt(f"{host.url}/hook?key=1", http) == Attempt("delivered")
        assert (await attempt(host.url, http, secret=None)).ending == "delivered"
    (body, headers), (_, unsigned) = seen
    assert Verifier(SECRET).verify(body, headers) == json.loads(body)
    assert host.paths[0] == "/hook?key=1"
    assert "webhook-signature" not in unsigned
    assert re.fullmatch("msg_[0-9a-f]{32}", headers["webhook-id"])
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    said = json.loads(body)
    assert (said["type"], said["data"]["job_id"], said["data"]["status"]) == ("job.complete", "j", "complete")
    assert said["data"]["totals"]["records"] == 30
    assert said["data"]["explanation"] == explain(status_of("j"))


def test_every_attempt_sends_the_same_bytes() -> None:
    first = a_delivery()
    assert body_of(after(first, FAILED, NOW, 0.5)) == body_of(first)


@pytest.mark.parametrize(
    ("status", "ending", "told"),
    [
        (204, "delivered", None),
        (301, "refused", "redirects are not followed"),
        (400, "refused", "it answered 400"),
        (408, "failed", "it answered 408"),
        (410, "gone", "410"),
        (429, "failed", "it answered 429"),
        (500, "failed", "it answered 500"),
    ],
)
async def test_what_each_answer_means(http: Http, status: int, ending: str, told: str | None) -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        return web.Response()

    async def receive(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": f"{other.url}/", "Retry-After": "77"})

    async with http, serving(elsewhere) as other, serving(receive) as host:
        said = await attempt(f"{host.url}/?key={CANARY}", http)
    assert said.ending == ending
    assert (said.detail is None) if told is None else (told in (said.detail or ""))
    assert said.wish == (77 if ending == "failed" else None)
    assert other.requests == []


async def test_retry_after_may_be_a_date(http: Http) -> None:
    async def receive(request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": dates.pop()})

    dates = ["not a date", "Sun, 01 Mar 2026 11:00:00 GMT", "Sun, 01 Mar 2026 12:10:00 GMT"]
    async with http, serving(receive) as host:
        wishes = [(await attempt(host.url, http, now=NOW)).wish for _ in range(3)]
    assert wishes == [600, 0, None]


async def test_silence_and_nonsense_end_in_time_and_without_the_urls_query(http: Http) -> None:
    ended = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        await ended.wait()
        return web.Response()

    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    async with http, serving(silent) as host, serving_bytes(b"hello\r\n\r\n") as odd:
        port = closed.getsockname()[1]
        for url, told in (
            (host.url, "it did not answer in time"),
            (odd, "it answers, but not in HTTP"),
            (f"http://127.0.0.1:{port}", "no connection came about"),
            ("http://nowhere.invalid", "there is no host of this name"),
        ):
            said = await attempt(f"{url}/?key={CANARY}", http)
            assert (said.ending, said.detail) == ("failed", told)
        ended.set()
    closed.close()


async def test_nothing_private_is_reached_unless_it_is_allowed() -> None:
    async def receive(request: web.Request) -> web.Response:
        return web.Response()

    async with serving(receive) as host:
        names = Names({"hooks.example": ("127.0.0.1", host.port)})
        async with Http(user_agent="tests", resolver=names) as http:
            for url in (
                host.url,
                "https://hooks.example/",
                f"https://127.0.0.1:{host.port}",
                "http://a.example",
            ):
                said = await attempt(url, http)
                assert said.ending == "refused"
                assert "network.allow_private_hosts" in (said.detail or "")
            assert host.requests == []
            # From the settings it may lead anywhere.
            assert (await attempt(host.url, http, trusted=True)).ending == "delivered"


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("whsec_", "is not `whsec_` and base64"),
        ("whsec_a", "is not `whsec_` and base64"),
        ("", "is not `whsec_` and base64"),
    ],
)
async def test_what_can_not_be_signed_is_not_sent(http: Http, secret: str, told: str) -> None:
    async with http:
        said = await attempt("http://127.0.0.1:9", http, secret=lambda: secret)
    assert (said.ending, told in (said.detail or "")) == ("failed", True)


async def test_a_secret_that_is_not_there_is_named(http: Http) -> None:
    document = backfill(monitoring={"webhooks": [hook(secret="${env:NOWHERE_SET}")]})
    ((delivery, target),) = notices(status_of("j"), document, AlertSettings(), NOW)
    async with http:
        said = await Post(http, now=lambda: NOW).attempt(delivery, target)
    assert said.ending == "failed"
    assert "the environment variable NOWHERE_SET is not set" in (said.detail or "")


def test_alerts_are_signed_by_the_settings_and_tell_the_jobs_page() -> None:
    alerts = AlertSettings(
        webhook_url="http://inside/hook",
        webhook_secret=SecretStr(SECRET),
        job_page="https://skyfill.example/jobs/{job_id}",
    )
    told = list(notices(status_of("j", "error"), backfill(), alerts, NOW))
    assert [target.url for _, target in told] == [LOG, "http://inside/hook"]
    delivery, target = told[1]
    assert target.trusted
    assert target.secret is not None
    assert target.secret() == SECRET
    assert delivery.data.url == "https://skyfill.example/jobs/j"
    assert SECRET not in delivery.encode().decode()
