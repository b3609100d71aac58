"""The page that starts a backfill: a form and the same as YAML, checked while one types, and a dry run.

Every judgement is the API's. The page only carries the document there, and the answer to the right field.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.dashboard.client import Refused, segment
from api.dashboard.dashboard import dashboard_of
from api.dashboard.fields import NAME, PLAIN, RECORD_TYPES, SOURCES, STORES
from api.dashboard.form import (
    Fields,
    document_in_short,
    document_of,
    field_of,
    fields_of,
    section_of,
    yaml_of,
)
from api.dashboard.visits import PageRoute, Visit, first, form_of, see_other, visit
from api.services import services_of
from schemas.section import NAME_PATTERN

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_BEGIN: dict[str, Any] = {
    "name": "my-accounts",
    "source": {"type": "inline"},
    "storage": [{"type": "parquet", "path": "out"}],
}
_SHOWN = SimpleNamespace(
    name=NAME,
    sources=SOURCES,
    stores=STORES,
    record_types=RECORD_TYPES,
    dates=[field for field in PLAIN if field.kind == "date"],
    more=[field for field in PLAIN if field.kind != "date" and field is not NAME],
)


@dataclass(frozen=True)
class Draft:
    """A document in the making."""

    view: Literal["form", "yaml"]
    yaml: str
    section: dict[str, Any] | None
    """None: the text is no document."""
    filled: Fields


@router.get("/start")
async def show_start(request: Request, config: str = "", job: str = "") -> Response:
    """An empty form, or one that begins with a stored configuration or with another job's document."""
    async with visit(request) as visitor:
        section = _BEGIN
        if config:
            stored = await visitor.api.whole(f"configs/{segment(config)}", Accept="application/yaml")
            section = section_of(stored.text) or _BEGIN
        elif job:
            known = services_of(request).boards.job(job)
            if known is None or known.backfill is None:
                raise Refused(404, {"title": "unknown job", "detail": f"The document of {job} is not known."})
            section = document_in_short(known.backfill)
        return _page(request, visitor, _of_section(section))


@router.post("/start")
async def act(request: Request) -> Response:
    """Starts the backfill or stores it, or shows the page again: as form or YAML, or with a dry run."""
    async with visit(request) as visitor:
        fields = await form_of(request)
        draft, wanted = _draft(fields), first(fields, "do", "start")
        key = first(fields, "key")
        if wanted in ("form", "yaml"):
            return _turned(request, visitor, draft, wanted, key)
        try:
            if wanted == "plan":
                plan = await visitor.api.send("POST", "plan", text=draft.yaml)
                return _page(request, visitor, draft, plan=plan, key=key)
            if wanted == "store":
                name = str((draft.section or {}).get("name") or "backfill")
                await visitor.api.send("PUT", f"configs/{segment(name)}", text=draft.yaml)
                return see_other(f"/configs/{segment(name)}", done="stored")
            query = {"job_id": _job_id(key, draft)} if key else {}
            started = await visitor.api.send("POST", "start", text=draft.yaml, params=query)
        except Refused as refused:
            errors = refused.errors or [{"key": None, "line": None, "message": refused.detail}]
            return _page(request, visitor, draft, errors=errors, status=refused.status)
        return see_other(f"/jobs/{segment(started['job_id'])}", done="started")


@router.post("/start/check")
async def check(request: Request) -> Response:
    """What is wrong so far, by field, and the document as YAML; for the page's script."""
    async with visit(request) as visitor:
        draft = _draft(await form_of(request))
        found = await visitor.api.send("POST", "configs/validate", text=draft.yaml)
        return JSONResponse(
            {"valid": found["valid"], "errors": _placed(found["errors"], draft), "yaml": draft.yaml}
        )


@router.post("/start/plan")
async def plan(request: Request) -> Response:
    """The dry run alone; for the page's script."""
    async with visit(request) as visitor:
        draft = _draft(await form_of(request))
        try:
            found = await visitor.api.send("POST", "plan", text=draft.yaml)
        except Refused as refused:
            found = {"problem": refused.detail}
        return dashboard_of(request).renderer.page(request, "plan.html", visitor.who, plan=found)


def _job_id(key: str, draft: Draft) -> str:
    """The same form sent twice is one job; the form with another document is another one."""
    name = str((draft.section or {}).get("name", ""))
    begin = name if re.fullmatch(NAME_PATTERN, name) else "backfill"
    digest = hashlib.sha256(f"{key} {draft.yaml}".encode()).hexdigest()
    return f"{begin}-{digest[:10]}"


def _draft(fields: Fields) -> Draft:
    if first(fields, "view") == "yaml":
        text = "\n".join(fields.get("document", ())).replace("\r\n", "\n")
        section = section_of(text)
        return Draft("yaml", text, section, fields_of(section or {}))
    base = section_of("\n".join(fields.get("base", ())))
    section = document_of(fields, base)
    return Draft("form", yaml_of(section), section, fields)


def _of_section(section: dict[str, Any], view: Literal["form", "yaml"] = "form") -> Draft:
    return Draft(view, yaml_of(section), section, fields_of(section))


def _turned(request: Request, visitor: Visit, draft: Draft, view: str, key: str) -> Response:
    """The same document in the other view. Text that is none can't become a form, and stays."""
    if view == "yaml":
        return _page(request, visitor, Draft("yaml", draft.yaml, draft.section, draft.filled), key=key)
    if draft.section is None:
        errors = [{"key": None, "line": None, "message": _NO_FORM}]
        return _page(request, visitor, draft, errors=errors, key=key, status=422)
    return _page(request, visitor, _of_section(draft.section), key=key)


_NO_FORM = "this is no document with the key `backfill:`, so it can't be shown as a form; mend it here first"


def _placed(errors: list[dict[str, Any]], draft: Draft) -> list[dict[str, Any]]:
    """Mistakes with the form's field, where it has one. A form has no lines."""
    if draft.view == "yaml":
        return errors
    found = ((error, field_of(error["key"] or "", draft.section or {})) for error in errors)
    return [error | {"line": None, "field": field} for error, field in found]


def _page(
    request: Request,
    visitor: Visit,
    draft: Draft,
    *,
    errors: list[dict[str, Any]] | None = None,
    plan: dict[str, Any] | None = None,
    key: str = "",
    status: int = 200,
) -> Response:
    placed = _placed(errors or [], draft)
    wrong = {error["field"]: error["message"] for error in reversed(placed) if error.get("field")}
    return dashboard_of(request).renderer.page(
        request,
        "start.html",
        visitor.who,
        status=status,
        fields=_SHOWN,
        view=draft.view,
        yaml=draft.yaml,
        filled=draft.filled,
        errors=placed,
        wrong=wrong,
        plan=plan,
        verdict="",
        key=key or secrets.token_hex(16),
    )
