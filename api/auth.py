"""Who asks, and whether they may. Each endpoint names the least role that may use it.

What may never break: a token that was revoked is refused by every process at its next request, and a page of
another site can't act with a token that a browser keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer, SecurityScopes

from api.audit import client_address
from api.limits import Taken
from api.problems import Problem
from api.services import Services, services_of
from messaging.token_book import find_token, token_id_of
from schemas.describe import did_you_mean
from schemas.document import Mistake
from schemas.tokens import ROLES, ApiToken, Role

COOKIE = "skyfill_token"
"""Holds the token of somebody who has logged in on the dashboard."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
INNER = "skyfill.inner"
"""In the scope of a request that a page of the dashboard makes: the page itself was counted. Nobody outside
can set it."""
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="skyfill"'}
_NO_GOOD = "this token is not known, or no longer good; ask an admin for another one"
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="A token as `skyfill token create` prints it: `Authorization: Bearer skf_…`. The least role "
    "that may use an endpoint stands beside it.",
)


@dataclass(frozen=True)
class Caller:
    """Whose token a request came with."""

    token: ApiToken
    by: Literal["header", "cookie"]

    def may(self, role: Role) -> bool:
        """Whether the token's role includes this one."""
        return ROLES.index(self.token.role) >= ROLES.index(role)


async def caller(
    request: Request,
    scopes: SecurityScopes,
    services: Annotated[Services, Depends(services_of)],
    _shown: Annotated[object, Depends(_bearer)],
) -> Caller:
    """The caller, whose role is at least the one that the endpoint names. Raises Problem."""
    found = await authenticate(request, services)
    _require_known_parameters(request)
    [role] = scopes.scopes
    if not found.may(role):  # type: ignore[arg-type]
        raise Problem(
            403,
            "role-too-low",
            f"this takes the role {role}, and the token {found.token.name!r} is one of a {found.token.role}",
        )
    return found


async def authenticate(request: Request, services: Services) -> Caller:
    """The caller of a request, whatever the role; all boards are then as of the request.

    Raises Problem: 401 without a good token, 403 for a cookie that another site makes a browser send, 429.
    """
    presented = _presented(request)
    if presented is None:
        raise _refused(request, services, "no token; send `Authorization: Bearer skf_…`")
    text, by = presented
    tokens = services.boards.tokens.items
    token = find_token(tokens, text, datetime.now(UTC))
    # Neither who asks too often nor who guesses costs the broker a question.
    if token is not None:
        _spend_token(request, services, token)
    elif token_id_of(text) is None or not services.limits.address_left(client_address(request)).allowed:
        raise _refused(request, services, _NO_GOOD)
    await services.boards.fresh()
    known, token = token is not None, find_token(tokens, text, datetime.now(UTC))
    if token is None:
        raise _refused(request, services, _NO_GOOD)
    if not known:
        _spend_token(request, services, token)
    found = Caller(token, by)
    request.state.caller = found
    if by == "cookie" and request.method not in SAFE_METHODS and not same_origin(request):
        raise Problem(
            403,
            "other-site",
            "a token in a cookie changes things from this server's own pages alone; send it as a header",
        )
    return found


def _require_known_parameters(request: Request) -> None:
    """A misspelt parameter would silently be without effect. Raises Problem."""
    route = request.scope.get("route")
    item = request.app.openapi()["paths"].get(getattr(route, "path", None), {})
    operation = item.get(request.method.lower())
    if operation is None:
        return
    known = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    unknown = [
        Mistake(None, name[:100], f"there is no such parameter; {did_you_mean(name[:100], known)}")
        for name in request.query_params
        if name not in known
    ]
    if unknown:
        raise Problem(422, "invalid-parameters", unknown[0].message, errors=unknown)


def _presented(request: Request) -> tuple[str, Literal["header", "cookie"]] | None:
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, text = header.partition(" ")
        return (text.strip(), "header") if scheme.lower() == "bearer" else None
    cookie = request.cookies.get(COOKIE)
    return None if cookie is None else (cookie, "cookie")


def _refused(request: Request, services: Services, why: str) -> Problem:
    _spend(request, services.limits.address(client_address(request)))
    return Problem(401, "no-token", why, headers=_CHALLENGE)


def _spend_token(request: Request, services: Services, token: ApiToken) -> None:
    if not request.scope.get(INNER):
        _spend(request, services.limits.token(token.id))


def _spend(request: Request, taken: Taken) -> None:
    """Raises Problem where there is nothing left to spend."""
    request.state.limit_headers = taken.headers()
    if not taken.allowed:
        raise Problem(
            429,
            "too-many-requests",
            f"more than {taken.limit} requests within a minute; come again in {taken.reset_seconds} s",
        )


def same_origin(request: Request) -> bool:
    """Whether a browser says that a page of this very server sends the request."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(request.headers.get("origin", ""))
    return origin.scheme == request.url.scheme and origin.netloc == request.headers.get("host")


Viewer = Annotated[Caller, Security(caller, scopes=["viewer"])]
Operator = Annotated[Caller, Security(caller, scopes=["operator"])]
Admin = Annotated[Caller, Security(caller, scopes=["admin"])]
