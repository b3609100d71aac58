"""Logging in and out, the choice of light or dark, and the files that pages load."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.auth import COOKIE
from api.dashboard.client import Refused
from api.dashboard.dashboard import dashboard_of
from api.dashboard.render import THEME_COOKIE
from api.dashboard.visits import PageRoute, client_of, first, form_of, inside, see_other

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_YEAR_SECONDS = 365 * 86_400
_FOR_EVER = f"public, max-age={_YEAR_SECONDS}, immutable"


@router.get("/login")
async def show_login(request: Request) -> Response:
    """The page where a token is entered."""
    return _login(request, inside(request.query_params.get("next", "/")))


@router.post("/login")
async def login(request: Request) -> Response:
    """Keeps a good token in a cookie that no script can read and no other site can send."""
    fields = await form_of(request)
    token, back = first(fields, "token").strip(), inside(first(fields, "next", "/"))
    if not token.isascii() or not token.isprintable() or not token:
        return _login(request, back, "This is no token. It begins with skf_.", 422)
    try:
        async with client_of(request, token) as api:
            await api.get("jobs", limit=1)
    except Refused as refused:
        if refused.status == 401:
            return _login(request, back, "This token is not known, or no longer good.", 401)
        return _login(request, back, refused.detail, refused.status)
    answer = see_other(back)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, token, path="/", httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/logout")
async def logout(request: Request) -> Response:
    """Forgets the token in this browser; it stays good elsewhere."""
    answer = see_other("/login")
    answer.delete_cookie(COOKIE, path="/")
    return answer


@router.post("/theme")
async def switch_theme(request: Request) -> Response:
    """The other one of light and dark, where no script does it; from the browser's own choice to dark."""
    fields = await form_of(request)
    chosen = "light" if first(fields, "theme") == "dark" else "dark"
    answer = see_other(inside(first(fields, "next", "/")))
    answer.set_cookie(THEME_COOKIE, chosen, max_age=_YEAR_SECONDS, path="/", samesite="strict")
    return answer


@router.get("/static/{name:path}")
async def static(request: Request, name: str, v: str = "") -> Response:
    """A file that pages load. Its address changes with its content."""
    asset = dashboard_of(request).assets.find(name)
    if asset is None:
        return Response("There is no such file.", 404, media_type="text/plain")
    caching = _FOR_EVER if v == asset.version else "no-cache"
    return Response(asset.content, media_type=asset.media_type, headers={"Cache-Control": caching})


def _login(request: Request, back: str, problem: str = "", status: int = 200) -> Response:
    renderer = dashboard_of(request).renderer
    return renderer.page(request, "login.html", status=status, next=back, problem=problem)
