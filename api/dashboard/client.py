"""How pages act and ask: in this process, through the API's own door, with the visitor's own token.

So the dashboard can do nothing that its visitor may not, and every action is checked and audited where it is
for all. What pages only read of one job comes from the same boards as the API's answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import INNER

_SECONDS = 90.0


class Refused(Exception):
    """The API's answer was a problem document."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: str | None = None) -> None:
        self.status = status
        self.title = str(problem.get("title") or f"Error {status}")
        self.detail = str(problem.get("detail") or "There is no further explanation.")
        self.errors: list[dict[str, Any]] = list(problem.get("errors") or [])
        self.retry_after = retry_after
        super().__init__(f"{self.title}: {self.detail}")


class ApiClient:
    """Life: `async with` for one page. Every method raises Refused."""

    def __init__(self, app: ASGIApp, token: str, address: tuple[str, int], user_agent: str = "") -> None:
        """`address` is the visitor's, for the audit log."""
        transport = httpx.ASGITransport(_inner(app), raise_app_exceptions=False, client=address)
        headers = {"Authorization": f"Bearer {token}", "User-Agent": user_agent or "skyfill dashboard"}
        self._client = httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers, timeout=_SECONDS
        )

    async def __aenter__(self) -> ApiClient:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *ended: Any) -> None:
        await self._client.__aexit__(*ended)

    async def get(self, path: str, **params: Any) -> Any:
        """The answer to a GET below `/api/backfill/`, as JSON. What is None or empty is not asked for."""
        given = {name: value for name, value in params.items() if value not in (None, "")}
        return self._checked(await self._client.get(f"/api/backfill/{path}", params=given)).json()

    async def whole(self, path: str, **headers: str) -> httpx.Response:
        """The whole answer to a GET, for its headers or another form than JSON."""
        return self._checked(await self._client.get(f"/api/backfill/{path}", headers=headers))

    async def send(
        self, method: str, path: str, *, body: Any = None, text: str | None = None, **more: Any
    ) -> Any:
        """The answer to another method; `body` goes as JSON, `text` as YAML. None where there is no body."""
        headers = dict(more.pop("headers", {}))
        if text is not None:
            headers["Content-Type"] = "application/yaml"
            more["content"] = text.encode()
        elif body is not None:
            more["json"] = body
        address = f"/api/backfill/{path}"
        answer = self._checked(await self._client.request(method, address, headers=headers, **more))
        return answer.json() if answer.content else None

    @staticmethod
    def _checked(answer: httpx.Response) -> httpx.Response:
        if answer.status_code < 400:
            return answer
        try:
            problem = answer.json()
        except ValueError:
            problem = {"detail": answer.text[:500]}
        if not isinstance(problem, dict):
            problem = {"detail": str(problem)[:500]}
        raise Refused(answer.status_code, problem, answer.headers.get("Retry-After"))


def segment(text: str) -> str:
    """A name of others as one segment of a path."""
    return quote(text, safe="")


def _inner(app: ASGIApp) -> ASGIApp:
    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, INNER: True}, receive, send)

    return marked
