"""Who is looking: the cookie that carries the token, the way to the login, and answers that are no pages.

What may never break: an action is taken only from a page of this server, since browsers send cookies by
themselves; and no address given by others is ever redirected to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.auth import COOKIE, SAFE_METHODS, authenticate, same_origin
from api.body import read_bytes
from api.dashboard.client import ApiClient, Refused
from api.dashboard.dashboard import dashboard_of
from api.problems import Problem
from api.services import services_of

_MOST_FIELDS = 500


class LoginNeeded(Exception):
    """Nobody is logged in."""


@dataclass(frozen=True)
class Visit:
    """One request of somebody who is logged in."""

    api: ApiClient
    who: dict[str, Any]
    """The visitor's token: id, name, role."""


@asynccontextmanager
async def visit(request: Request) -> AsyncIterator[Visit]:
    """Raises LoginNeeded, and Problem like every endpoint."""
    text = request.cookies.get(COOKIE)
    if not text:
        raise LoginNeeded
    token = (await authenticate(request, services_of(request))).token
    who = request.state.who = {"id": token.id, "name": token.name, "role": token.role}
    async with client_of(request, text) as api:
        yield Visit(api, who)


def client_of(request: Request, token: str) -> ApiClient:
    """The API as this visitor may use it."""
    address = (request.client.host, request.client.port) if request.client else ("unknown", 0)
    return ApiClient(request.app, token, address, request.headers.get("User-Agent", ""))


async def form_of(request: Request) -> dict[str, list[str]]:
    """The fields of a form, urlencoded as browsers send it. Raises Problem for what is none."""
    # A character of the document may take three in a form: what it may have is the API's to judge.
    raw = await read_bytes(request, 3 * services_of(request).settings.api.body_bytes)
    try:
        return parse_qs(raw.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:  # of which UnicodeDecodeError is one
        raise Problem(422, "no-form", "this is no form that a page of this dashboard has sent") from None


def first(fields: Mapping[str, Sequence[str]], name: str, default: str = "") -> str:
    """A field's first value."""
    return next(iter(fields.get(name, ())), default)


def inside(address: str, default: str = "/") -> str:
    """An address if it lies on this server, else `default`."""
    parts = urlsplit(address)
    own = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if own and not parts.scheme and not parts.netloc and "\n" not in address else default


def see_other(address: str, **query: str) -> Response:
    """To another page, by GET."""
    return RedirectResponse(f"{address}?{urlencode(query)}" if query else address, 303)


def to_login(request: Request, *, forget: bool) -> Response:
    """To the login and, after a GET, back here from there."""
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    query = {"next": back} if request.method == "GET" and back != "/" else {}
    answer = see_other("/login", **query)
    if forget:
        answer.delete_cookie(COOKIE, path="/")
    return answer


class PageRoute(APIRoute):
    """Routes of pages: what is refused becomes a page, and who is not logged in is led to the login."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See fastapi.routing.APIRoute."""
        inner = super().get_route_handler()

        async def answer(request: Request) -> Response:
            request.state.page = True
            try:
                if request.method not in SAFE_METHODS and not same_origin(request):
                    raise Refused(403, _FOREIGN)
                return await inner(request)
            except LoginNeeded:
                return to_login(request, forget=False)
            except Problem as problem:
                if problem.status in (401, 403):
                    services_of(request).audit.after(request, problem.status, problem.kind)
                refused = Refused(
                    problem.status, {"title": problem.kind.replace("-", " "), "detail": problem.detail}
                )
            except Refused as found:
                refused = found
            if refused.status == 401:
                return to_login(request, forget=True)
            return dashboard_of(request).problem(request, refused)

        return answer


_FOREIGN = {
    "title": "From elsewhere",
    "detail": "This did not come from a page of this dashboard. Open the page and do it there.",
}


def one_of(value: str | None, known: Sequence[str]) -> str:
    """A choice in an address, if it is one."""
    return value if value is not None and value in known else ""
