"""`/openapi.json`, and `/docs`, which shows it: Swagger UI from its pinned webjar, from this server alone."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from api.auth import Viewer
from api.problems import Problem
from api.routes.jobs import Serving
from schemas.errors import LocalServerError

router = APIRouter(include_in_schema=False)
FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
FOLDER = "META-INF/resources/webjars/swagger-ui/{version}"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".png": "image/png"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Swagger UI sets styles on elements; it runs no script but the two files."""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>skyfill: the API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/begin.js"></script>
</body>
</html>
"""
_BEGIN = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis],
});
"""


@router.get("/openapi.json")
async def openapi_document(request: Request, _caller: Viewer) -> Response:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def docs_page(_caller: Viewer) -> Response:
    """The page."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get("/docs/begin.js")
async def docs_begin(_caller: Viewer) -> Response:
    """What the page begins with."""
    return Response(_BEGIN, media_type=_TYPES[".js"])


@router.get("/docs/{name}")
async def docs_file(
    name: Annotated[Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"], Path()],
    services: Serving,
    _caller: Viewer,
) -> Response:
    """A file of Swagger UI."""
    try:
        files = await services.docs.files()
    except LocalServerError as error:
        raise Problem(503, "no-docs-page", f"{error} /openapi.json has the same without a page.") from error
    suffix = name[name.rindex(".") :]
    return Response(
        files[name], media_type=_TYPES[suffix], headers={"Cache-Control": "private, max-age=86400"}
    )
