"""`/openapi.json`, and `/docs`, which shows it: Swagger UI from its pinned webjar, from this server alone."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from api.auth import Viewer
from api.problems import described

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json", responses=described())
async def openapi_document(request: Request, _caller: Viewer) -> Response:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())
