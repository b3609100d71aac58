"""The OpenAPI document: what FastAPI makes of the endpoints, and what it does not know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.bodies import body_schemas
from api.problems import ProblemView

TITLE = "skyfill"
_ABOUT = """Backfills of AT Protocol repositories: plan, start, watch, turn and retry jobs.

Send a token with every request: `Authorization: Bearer skf_…` (`skyfill token create` makes one). A *viewer*
reads, plans and validates; an *operator* also starts and turns jobs and keeps configs; an *admin* also has
the tokens and the audit. Errors are RFC 9457 problem documents. What is not known is null, never 0.
"""


def described_by(app: FastAPI) -> dict[str, Any]:
    """The document of an application, made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=TITLE, version="1", description=_ABOUT, routes=app.routes)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        problem = ProblemView.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        schemas.update(body_schemas())
        # FastAPI adds its own form of validation errors wherever there is none; ours is a problem.
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        app.openapi_schema = made
    return app.openapi_schema
