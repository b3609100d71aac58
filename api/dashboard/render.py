"""Templates to pages. All text is escaped by default; what a template asks for has to be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from api.dashboard.assets import Assets
from api.dashboard.client import segment
from api.dashboard.words import FILTERS, number, parts_of
from api.host_views import BudgetView
from api.views import JobSummary, Progress
from schemas.tokens import ROLES, Role
from schemas.words import counted, span

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    # Not none at all: a form's request would then come from `null` instead of from here.
    "Referrer-Policy": "same-origin",
}
THEME_COOKIE = "skyfill_theme"
NAVIGATION: tuple[tuple[str, str, Role], ...] = (
    ("/", "Jobs", "viewer"),
    ("/start", "Start", "viewer"),
    ("/configs", "Configurations", "viewer"),
    ("/performance", "Hosts", "viewer"),
    ("/lag", "Lag", "viewer"),
    ("/docs", "API", "viewer"),
    ("/tokens", "Tokens", "admin"),
    ("/audit", "Audit", "admin"),
)
_ENDS = ("completed", "skipped", "unavailable", "failed", "cancelled")
_DONE = {
    "started": "The backfill is on its way.",
    "cancel": "The job is being cancelled.",
    "pause": "The job is being paused.",
    "resume": "The job goes on.",
    "retry": "What failed is being tried again.",
    "replay": "The dead letters are being replayed.",
    "stored": "The configuration is stored.",
    "deleted": "The configuration is deleted.",
    "revoked": "The token is revoked.",
}
"""What a page says after an action: the address names one of these, so that no text of others gets there."""


class Renderer:
    """Life: made once, `page` for every answer."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets
        self._jinja = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.filters |= FILTERS | {
            "segment": segment,
            "pieces": _pieces,
            "kinds": _kinds,
            "progress_words": _progress_words,
            "signed": _signed,
            "budget_words": _budget_words,
        }

    def page(
        self,
        request: Request,
        template: str,
        who: Mapping[str, Any] | None = None,
        *,
        status: int = 200,
        **context: Any,
    ) -> HTMLResponse:
        """A whole page. `who` is the visitor's token as the API tells of it; None: nobody is logged in."""
        now = datetime.now(UTC)
        theme = request.cookies.get(THEME_COOKIE)
        rank = ROLES.index(who["role"]) if who else -1
        known = {
            "asset": self._assets.url,
            "charts": self._assets.charts,
            "theme": theme if theme in ("light", "dark") else None,
            "who": who,
            "may": lambda role: rank >= ROLES.index(role),
            "navigation": NAVIGATION,
            "section": _section(request.url.path),
            "path": request.url.path,
            "here": request.url.path.rstrip("/") or "/",
            "done": _DONE.get(request.query_params.get("done", "")),
            "now": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "now_at": now,
        }
        text = self._jinja.get_template(template).render(known | context)
        return HTMLResponse(text, status, headers=_HEADERS)


def _section(path: str) -> str:
    """The entry of the navigation that a page belongs to."""
    begin = f"/{path.split('/')[1]}"
    return "/" if begin == "/jobs" else begin


def _kinds(progress: Progress | JobSummary) -> list[tuple[str, int]]:
    """Accounts by how they ended, those that there are."""
    return [(name, count) for name in _ENDS if (count := getattr(progress, name))]


def _pieces(progress: Progress | JobSummary) -> list[tuple[str, int, float, float]]:
    return parts_of(_kinds(progress), progress.total)


def _progress_words(progress: Progress | JobSummary) -> str:
    """A bar in words."""
    done = ", ".join(f"{number(count)} {name}" for name, count in _kinds(progress)) or "nothing done yet"
    return f"of {counted(progress.total, 'account', 'accounts')}: {done}"


def _signed(value: float | None) -> str:
    if value is None:
        return "–"
    return "0" if abs(value) < 0.05 else f"{value:+,.1f}" if abs(value) < 100 else f"{value:+,.0f}"


def _budget_words(budgets: Sequence[BudgetView]) -> str:
    """A host's limiter: how much of its tightest budget is used, or that none is known."""
    if not budgets:
        return "no budget known"
    tight = max(budgets, key=lambda budget: budget.used / max(1, budget.limit))
    window = f" in {span(tight.window_seconds)}" if tight.window_seconds else ""
    learnt = ", learnt" if tight.kind == "learnt" else ""
    return f"{number(tight.used)} of {number(tight.limit)}{window}{learnt}"
