"""The pages beside jobs: lag, hosts and pace, configurations, tokens, the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.client import Refused, segment
from api.dashboard.dashboard import dashboard_of
from api.dashboard.visits import PageRoute, Visit, first, form_of, see_other, visit
from api.dashboard.words import number, rate, share
from api.host_views import budgets_of, limiter_use
from api.services import services_of
from messaging.lag import by_topic
from schemas.hosts import HostState
from schemas.rates import RateWindow
from schemas.words import size

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_MOST_HOSTS = 200
_PAGE = 100


@router.get("/lag")
async def show_lag(request: Request) -> Response:
    """How far every group is behind, by topic and by partition."""
    async with visit(request) as visitor:
        lags, _age = await services_of(request).lag.latest()
        trail = dashboard_of(request).trail
        sums = [(total, trail.line(total.group, total.topic)) for total in by_topic(lags)]
        return dashboard_of(request).renderer.page(request, "lag.html", visitor.who, sums=sums, rows=lags)


@router.get("/performance")
async def show_performance(request: Request) -> Response:
    """The pace of all jobs, and every host as its worker last told, those in trouble first."""
    async with visit(request) as visitor:
        services = services_of(request)
        paces = [(rates.job_id, rates.windows[0]) for rates in services.boards.rates.all() if rates.windows]
        paces.sort(key=lambda pace: (-pace[1].records_per_second, pace[0]))
        states = list(services.boards.hosts.items.values())
        states.sort(key=lambda state: (state.breaker == "closed", -state.requests, state.origin))
        now = services.now()
        return dashboard_of(request).renderer.page(
            request,
            "performance.html",
            visitor.who,
            paces=paces,
            totals=_totals([window for _, window in paces], states, now),
            hosts=[(state, budgets_of(state), limiter_use([state], now)) for state in states[:_MOST_HOSTS]],
            hosts_count=len(states),
        )


@router.get("/configs")
async def show_configs(request: Request) -> Response:
    """Stored documents by name."""
    async with visit(request) as visitor:
        found = await visitor.api.get("configs")
        return dashboard_of(request).renderer.page(
            request, "configs.html", visitor.who, configs=found["configs"], next_page=None
        )


@router.get("/configs/{name}")
async def show_config(request: Request, name: str) -> Response:
    """One of them, to read, change, delete or start from."""
    async with visit(request) as visitor:
        answer = await visitor.api.whole(f"configs/{segment(name)}", Accept="application/yaml")
        return _config(request, visitor, name, answer.text, answer.headers.get("ETag", ""))


@router.post("/configs/{name}")
async def change_config(request: Request, name: str) -> Response:
    """Stores it anew, unless somebody else has meanwhile."""
    async with visit(request) as visitor:
        fields = await form_of(request)
        text, etag = first(fields, "document").replace("\r\n", "\n"), first(fields, "etag")
        try:
            await visitor.api.send(
                "PUT", f"configs/{segment(name)}", text=text, headers=_unless_changed(etag)
            )
        except Refused as refused:
            errors = refused.errors or [{"line": None, "key": None, "message": refused.detail}]
            return _config(request, visitor, name, text, etag, errors=errors, status=refused.status)
        return see_other(f"/configs/{segment(name)}", done="stored")


@router.post("/configs/{name}/delete")
async def delete_config(request: Request, name: str) -> Response:
    """Deletes it, unless somebody has changed it meanwhile."""
    async with visit(request) as visitor:
        etag = first(await form_of(request), "etag")
        await visitor.api.send("DELETE", f"configs/{segment(name)}", headers=_unless_changed(etag))
        return see_other("/configs", done="deleted")


@router.get("/tokens")
async def show_tokens(request: Request) -> Response:
    """Who may use the API."""
    async with visit(request) as visitor:
        return await _tokens(request, visitor)


@router.post("/tokens")
async def make_token(request: Request) -> Response:
    """A new token, which is shown this once."""
    async with visit(request) as visitor:
        fields = await form_of(request)
        wanted: dict[str, Any] = {"name": first(fields, "name"), "role": first(fields, "role", "viewer")}
        if days := first(fields, "days").strip():
            wanted["expires_at"] = _in_days(days).isoformat()
        made = await visitor.api.send("POST", "tokens", body=wanted)
        return await _tokens(request, visitor, made)


@router.post("/tokens/{token_id}/revoke")
async def revoke_token(request: Request, token_id: str) -> Response:
    """Locks out whoever uses it."""
    async with visit(request) as visitor:
        await visitor.api.send("DELETE", f"tokens/{segment(token_id)}")
        return see_other("/tokens", done="revoked")


@router.get("/audit")
async def show_audit(request: Request, cursor: str = "") -> Response:
    """Who did what."""
    async with visit(request) as visitor:
        found = await visitor.api.get("audit", cursor=cursor, limit=_PAGE)
        onward = found.get("next_cursor")
        return dashboard_of(request).renderer.page(
            request,
            "audit.html",
            visitor.who,
            entries=found["entries"],
            next_page=f"/audit?cursor={segment(onward)}" if onward else None,
        )


def _totals(
    windows: Sequence[RateWindow], states: Sequence[HostState], now: datetime
) -> list[tuple[str, str]]:
    """Of all jobs together; what nobody tells of is not known."""
    told = bool(windows)
    return [
        ("Jobs at work", number(len(windows))),
        ("Records/s", rate(sum(window.records_per_second for window in windows) if told else None)),
        ("Repositories/s", rate(sum(window.repositories_per_second for window in windows) if told else None)),
        ("Data/s", size(sum(window.bytes_per_second for window in windows) if told else None)),
        ("Hosts known", number(len(states))),
        ("Breakers not closed", number(sum(state.breaker != "closed" for state in states))),
        ("Hosts’ budgets used", share(limiter_use(states, now))),
    ]


def _config(
    request: Request,
    visitor: Visit,
    name: str,
    text: str,
    etag: str,
    *,
    errors: list[dict[str, Any]] | None = None,
    status: int = 200,
) -> Response:
    return dashboard_of(request).renderer.page(
        request,
        "config.html",
        visitor.who,
        status=status,
        name=name,
        address=f"/configs/{segment(name)}",
        yaml=text,
        etag=etag,
        errors=errors or [],
    )


async def _tokens(request: Request, visitor: Visit, made: dict[str, Any] | None = None) -> Response:
    found = await visitor.api.get("tokens")
    return dashboard_of(request).renderer.page(
        request, "tokens.html", visitor.who, tokens=found["tokens"], made=made
    )


def _unless_changed(etag: str) -> dict[str, str]:
    return {"If-Match": etag} if etag else {}


def _in_days(text: str) -> datetime:
    if not text.isdecimal() or not 0 < int(text) <= 3650:
        raise Refused(422, {"title": "no number of days", "detail": "Say for how many days, from 1 to 3650."})
    return datetime.now(UTC) + timedelta(days=int(text))
