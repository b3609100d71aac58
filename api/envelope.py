"""Around every request: its id, the headers of every answer, the audit of what was refused, and the last
resort for errors.

What may never break: every answer has the security headers, also that of an error nobody thought of.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import SAFE_METHODS
from api.metrics import ApiMetrics
from api.problems import answer, problem_of
from api.services import Services

CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise."""
UNAUDITED = frozenset({"plan_job", "validate_config"})
"""Operations that take a body and change nothing."""
_log = logging.getLogger("skyfill.api")


class Envelope:
    """An ASGI middleware."""

    def __init__(
        self, app: ASGIApp, metrics: ApiMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app, self._metrics, self._clock = app, metrics, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = secrets.token_hex(8)
        request, began = Request(scope, receive), self._clock()
        status: int | None = None

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, **state.get("limit_headers", {})}.items():
                    headers.setdefault(name, value)
                headers["X-Request-Id"] = state["request_id"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            _log.exception("request %s failed", state["request_id"])
            if status is not None:
                raise
            await answer(request, problem_of(error))(scope, receive, sending)
        finally:
            name = getattr(scope.get("route"), "name", "unknown")
            if status is not None:
                self._metrics.answered(name, status, self._clock() - began)
                self._look_after(request, name, status)

    @staticmethod
    def _look_after(request: Request, name: str, status: int) -> None:
        """An entry for what was refused, and for whatever changes something and has none yet."""
        # A page's own requests are looked after one by one; it changes nothing beside them.
        if getattr(request.state, "page", False):
            return
        refused = status in (401, 403)
        changes = request.method not in SAFE_METHODS and status != 429 and name not in UNAUDITED
        services: Services | None = getattr(request.app.state, "services", None)
        if services is not None and (refused or changes):
            problem = getattr(request.state, "problem", None)
            services.audit.after(request, status, problem.kind if problem else None)
