"""Stored configs: documents by name, for everybody who may start jobs. The last word counts, unless
`If-Match` says which version is meant to be replaced."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse

from api.auth import Caller, Operator, Viewer
from api.bodies import CONFIG_ANSWER, CONFIG_CREATED, DOCUMENT_BODY, VALIDATE_BODY
from api.body import read_body
from api.documents import DocumentRefused, confined, read_document
from api.paging import Cursor, Limit, cursor_of, read_cursor
from api.problems import MOST_MISTAKES, MistakeView, Problem, described
from api.routes.jobs import Serving
from api.services import Services
from api.views import At
from messaging.config_book import LONGEST_NAME, PARTITIONS, document_text, version_of
from schemas.backfill import Backfill
from schemas.configs import StoredConfig
from schemas.section import NAME_PATTERN

router = APIRouter(prefix="/api/backfill/configs", tags=["configs"])
Name = Annotated[
    str,
    Path(
        description="The config's name.", pattern=NAME_PATTERN, max_length=LONGEST_NAME, examples=["nightly"]
    ),
]
IfMatch = Annotated[
    str | None,
    Header(description="Only if the config is still this version: the `ETag` of an answer.", max_length=200),
]


_RESERVED = "validate"


class ConfigView(BaseModel):
    """A stored document."""

    name: str
    version: str = Field(description="What the `ETag` holds.")
    updated_at: At
    updated_by: str = Field(description="Id of the token that wrote it.")
    backfill: dict[str, Any] = Field(description="What stands below `backfill:`.")


class ConfigLine(BaseModel):
    """A stored document without its content."""

    name: str
    version: str
    source: str = Field(description="The type of its source.")
    updated_at: At
    updated_by: str


class ConfigList(BaseModel):
    """A page of configs, by name."""

    configs: list[ConfigLine]
    next_cursor: str | None = Field(description="`cursor` of the next page; null: there is none.")


class Validated(BaseModel):
    """What is wrong with a document, or what it says with all defaults filled in."""

    valid: bool
    errors: list[MistakeView]
    document: dict[str, Any] | None = Field(description="null unless it is valid.")


@router.get("", responses=described())
async def list_configs(
    services: Serving, _caller: Viewer, cursor: Cursor = None, limit: Limit = 50
) -> ConfigList:
    """All stored configs, by name."""
    begin = read_cursor(cursor, str)
    configs = services.boards.configs.items
    names = sorted(name for name in configs if begin is None or name > begin[0])
    page = [configs[name] for name in names[:limit]]
    lines = [
        ConfigLine(
            name=one.name,
            version=version_of(one),
            source=one.backfill.source.type,
            updated_at=one.updated_at,
            updated_by=one.updated_by,
        )
        for one in page
    ]
    return ConfigList(configs=lines, next_cursor=cursor_of(page[-1].name) if len(names) > limit else None)


@router.post("", status_code=201, responses=described(408, 409, 413, 415), openapi_extra=DOCUMENT_BODY)
async def create_config(
    request: Request,
    response: Response,
    services: Serving,
    caller: Operator,
    name: Annotated[
        str | None,
        Query(
            description="The config's name; absent: the document's.",
            pattern=NAME_PATTERN,
            max_length=LONGEST_NAME,
        ),
    ] = None,
) -> ConfigView:
    """Stores a document under a name that is still free."""
    backfill = await _document(request, services)
    chosen = name or backfill.name
    request.state.subject = chosen
    async with services.configs_changing:
        await services.boards.fresh()
        if chosen in services.boards.configs.items:
            raise Problem(409, "config-exists", f"there is a config {chosen} already; PUT replaces it")
        stored = await _store(request, services, caller, chosen, backfill, 201)
    response.headers["Location"] = f"/api/backfill/configs/{chosen}"
    return _shown(response, stored)


@router.post("/validate", responses=described(408, 413, 415), openapi_extra=VALIDATE_BODY)
async def validate_config(request: Request, services: Serving, _caller: Viewer) -> Validated:
    """Checks a document, as `start` would, and stores nothing."""
    body = await read_body(request, services.settings.api.body_bytes)
    try:
        backfill = await read_document(body, services.documents)
        confined(backfill, services.folders, services.settings.api.secrets)
    except DocumentRefused as refused:
        shown = refused.mistakes[:MOST_MISTAKES]
        errors = [MistakeView(line=one.line, key=one.key, message=one.message) for one in shown]
        return Validated(valid=False, errors=errors, document=None)
    return Validated(valid=True, errors=[], document={"backfill": backfill.model_dump(mode="json")})


@router.get("/{name}", response_model=ConfigView, responses={**described(404, 406), **CONFIG_ANSWER})
async def read_config(
    name: Name,
    response: Response,
    services: Serving,
    _caller: Viewer,
    accept: Annotated[str, Header(description="application/json or application/yaml.")] = "*/*",
) -> Any:
    """A stored config; as the file that `skyfill start` takes for `Accept: application/yaml`."""
    stored = _known(services, name)
    wanted = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    for media_type in wanted:
        if media_type in ("application/json", "application/*", "*/*"):
            return _shown(response, stored)
        if media_type in ("application/yaml", "text/yaml", "text/*"):
            headers = {"ETag": _etag(stored), "Vary": "Accept"}
            text = document_text(stored.backfill)
            return PlainTextResponse(text, headers=headers, media_type="application/yaml")
    raise Problem(406, "not-acceptable", "a config is given as application/json or application/yaml")


@router.put(
    "/{name}", responses={**described(408, 412, 413, 415), 201: CONFIG_CREATED}, openapi_extra=DOCUMENT_BODY
)
async def write_config(
    request: Request,
    name: Name,
    response: Response,
    services: Serving,
    caller: Operator,
    if_match: IfMatch = None,
) -> ConfigView:
    """Stores a document under this name, whether or not there is one."""
    request.state.subject = name
    backfill = await _document(request, services)
    async with services.configs_changing:
        await services.boards.fresh()
        known = services.boards.configs.items.get(name)
        _require_match(known, if_match)
        response.status_code = 200 if known else 201
        stored = await _store(request, services, caller, name, backfill, response.status_code)
    return _shown(response, stored)


@router.delete("/{name}", status_code=204, responses=described(404, 412))
async def delete_config(
    request: Request, name: Name, services: Serving, _caller: Operator, if_match: IfMatch = None
) -> None:
    """Deletes a config. Jobs that were started from it keep their document."""
    request.state.subject = name
    async with services.configs_changing:
        await services.boards.fresh()
        _require_match(_known(services, name), if_match)
        await services.change(request, 204, subject=name)
        await services.publisher.publish(services.names.configs, name, None, PARTITIONS)


async def _document(request: Request, services: Services) -> Backfill:
    """As it was written: paths are resolved when a job is started from it."""
    body = await read_body(request, services.settings.api.body_bytes)
    try:
        backfill = await read_document(body, services.documents)
        confined(backfill, services.folders, services.settings.api.secrets)
    except DocumentRefused as refused:
        raise refused.problem from refused
    return backfill


async def _store(
    request: Request, services: Services, caller: Caller, name: str, backfill: Backfill, status: int
) -> StoredConfig:
    if name == _RESERVED:
        raise Problem(422, "reserved-name", f"no config can be called {name}: its address means more")
    stored = StoredConfig(name=name, backfill=backfill, updated_at=services.now(), updated_by=caller.token.id)
    await services.change(request, status, subject=name)
    await services.publisher.publish(services.names.configs, name, stored.encode(), PARTITIONS)
    return stored


def _known(services: Services, name: str) -> StoredConfig:
    found = services.boards.configs.items.get(name)
    if found is None:
        raise Problem(
            404, "unknown-config", f"there is no config {name}; GET /api/backfill/configs lists all"
        )
    return found


def _require_match(known: StoredConfig | None, if_match: str | None) -> None:
    if if_match is None:
        return
    wanted = [part.strip() for part in if_match.split(",")]
    if known is None or not ({"*", _etag(known)} & set(wanted)):
        now = f"it is {_etag(known)} now" if known else "there is none now"
        raise Problem(412, "config-changed", f"the config is not the version that If-Match names: {now}")


def _etag(config: StoredConfig) -> str:
    return f'"{version_of(config)}"'


def _shown(response: Response, config: StoredConfig) -> ConfigView:
    response.headers["ETag"] = _etag(config)
    response.headers["Vary"] = "Accept"
    return ConfigView(
        name=config.name,
        version=version_of(config),
        updated_at=config.updated_at,
        updated_by=config.updated_by,
        backfill=config.backfill.model_dump(mode="json"),
    )
