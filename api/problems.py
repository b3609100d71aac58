"""Errors as RFC 9457 problem documents: one form for all of them, with a sentence that says what to do."""

from __future__ import annotations

import http
import re
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from schemas.document import Mistake
from schemas.errors import ConfigError, DeploymentError, SkyfillError, SourceError

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
"""What `Retry-After` says where the broker does not answer."""
MOST_MISTAKES = 100
"""In one answer."""
_URN = "urn:skyfill:problem:"
_SENTENCES = {
    404: "there is nothing at this address; /openapi.json lists all there is",
    405: "this address takes other methods; see Allow",
}


class MistakeView(BaseModel):
    """One thing that is wrong with a request or a document."""

    line: int | None = Field(None, description="Line of the document, from 1; null where there are no lines.")
    key: str | None = Field(None, description="The key, e.g. `backfill.source.path`, or the parameter.")
    message: str = Field(description="What is wrong, and what would be right.")


class ProblemView(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="What kind of problem it is: a URN that does not change.")
    title: str = Field(description="The kind in words.")
    status: int = Field(description="The status of the answer.")
    detail: str = Field(description="What has happened, and what to do.")
    instance: str = Field(description="The request's path.")
    request_id: str = Field(description="What the log and the audit call this request.")
    errors: list[MistakeView] | None = Field(None, description="Each mistake by itself.")


class Problem(Exception):
    """Ends a request with a problem document. `kind` is a word or two with hyphens, e.g. `unknown-job`."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        errors: Iterable[Mistake] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.errors = list(errors)
        self.headers = dict(headers or {})


def answer(request: Request, problem: Problem) -> Response:
    """The document of a problem."""
    shown = problem.errors[:MOST_MISTAKES]
    view = ProblemView(
        type=_URN + problem.kind,
        title=problem.kind.replace("-", " "),
        status=problem.status,
        detail=problem.detail,
        instance=request.url.path,
        request_id=getattr(request.state, "request_id", ""),
        errors=[MistakeView(line=one.line, key=one.key, message=one.message) for one in shown] or None,
    )
    # Of use to whoever counts and audits: the kind is not in the status.
    request.state.problem = problem
    return JSONResponse(
        view.model_dump(mode="json", exclude_none=True),
        problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def unavailable(error: Exception) -> Problem:
    """Kafka does not do what is needed just now."""
    return Problem(
        503,
        "not-available",
        f"{error}; try again in a while",
        headers={"Retry-After": str(RETRY_SECONDS)},
    )


def problem_of(error: Exception) -> Problem:
    """What an exception means for whoever asked."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        phrase = http.HTTPStatus(error.status_code).phrase
        detail = _SENTENCES.get(error.status_code, str(error.detail))
        return Problem(error.status_code, phrase.lower().replace(" ", "-"), detail, headers=error.headers)
    if isinstance(error, RequestValidationError):
        return of_parameters(error.errors())
    if isinstance(error, DeploymentError):
        return unavailable(error)
    if isinstance(error, SourceError):
        return Problem(422, "source-unreadable", str(error))
    if isinstance(error, ConfigError):
        return Problem(422, "invalid-document", str(error))
    if isinstance(error, SkyfillError):
        return Problem(422, "failed", str(error))
    return Problem(500, "internal-error", "something is broken here; the log tells what, by the request_id")


def install(app: FastAPI) -> None:
    """All errors of the application end here."""

    async def told(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem.status == 405:
            problem.headers["Allow"] = ", ".join(_methods(app, request))
        return answer(request, problem)

    for kind in (Problem, HTTPException, RequestValidationError, SkyfillError):
        app.add_exception_handler(kind, told)


def _methods(app: FastAPI, request: Request) -> list[str]:
    """What an address takes: endpoints of one path are routes of their own, and know one method each."""
    paths = app.openapi()["paths"]
    if (exact := paths.get(request.url.path)) is not None:
        return sorted(method.upper() for method in exact)
    found: set[str] = set()
    for path, item in paths.items():
        form = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path))
        if re.fullmatch(form, request.url.path):
            found |= {method.upper() for method in item}
    return sorted(found) or ["GET"]


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses for the OpenAPI document, beside those that any request may meet."""
    words = {
        401: "No token, or none that is good.",
        403: "The token's role is too low, or the request came from another site.",
        404: "There is no such thing.",
        406: "Only JSON and YAML are answered.",
        408: "The body did not come in time.",
        409: "It can't be done as things stand.",
        412: "It was changed meanwhile: `If-Match` names another version.",
        413: "The body is too large.",
        415: "The body is neither JSON nor YAML.",
        422: "A parameter or the document is wrong; `errors` has each mistake.",
        429: "Too many requests; `Retry-After` says when the next one is taken.",
        503: "Kafka does not answer; nothing was done.",
    }
    return {
        status: {
            "description": words[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({401, 403, 422, 429, 503, *statuses})
    }


def of_parameters(errors: Iterable[Any]) -> Problem:
    """What pydantic says of parameters or of a body; the first part of each `loc` is which of them."""
    mistakes = [
        Mistake(None, ".".join(str(part) for part in error["loc"][1:]) or None, error["msg"])
        for error in errors
    ]
    said = "; ".join(f"{one.key}: {one.message}" for one in mistakes[:5])
    return Problem(422, "invalid-parameters", said, errors=mistakes)
