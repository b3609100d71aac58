"""Tokens, for admins. A token's text is told once, in the answer to its making."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field, ValidationError

from api.auth import Admin
from api.bodies import NewToken, body_of
from api.body import read_json
from api.paging import Cursor, Limit, cursor_of, read_cursor
from api.problems import Problem, described
from api.problems import of_parameters as problem_of
from api.routes.jobs import Serving
from api.services import Services
from api.views import At
from messaging.token_book import PARTITIONS, new_token
from schemas.tokens import ApiToken, Role

router = APIRouter(prefix="/api/backfill/tokens", tags=["tokens"])
TokenId = Annotated[
    str, Path(description="The token's id.", pattern="^[0-9a-f]{10}$", examples=["0123456789"])
]
_EXAMPLE: dict[str, Any] = {"name": "the night shift", "role": "operator"}


class TokenView(BaseModel):
    """A token without what could be used as one."""

    id: str
    name: str
    role: Role
    created_at: At
    expires_at: At | None
    revoked_at: At | None
    good: bool = Field(description="Whether it is taken: neither revoked nor expired.")


class MadeToken(TokenView):
    """A token that was just made."""

    token: str = Field(description="Its text. Nobody can tell it again.")


class TokenList(BaseModel):
    """A page of tokens, the newest first."""

    tokens: list[TokenView]
    next_cursor: str | None = Field(description="`cursor` of the next page; null: there is none.")


@router.get("", responses=described())
async def list_tokens(
    services: Serving, _caller: Admin, cursor: Cursor = None, limit: Limit = 50
) -> TokenList:
    """All tokens, also those that are no good any more."""
    begin = read_cursor(cursor, str, str)
    keyed = [(_sort_key(token), token) for token in services.boards.tokens.items.values()]
    found = sorted((one for one in keyed if begin is None or one[0] < begin), key=lambda one: one[0])[::-1]
    now = services.now()
    return TokenList(
        tokens=[TokenView(**_fields(token, now)) for _, token in found[:limit]],
        next_cursor=cursor_of(*found[limit - 1][0]) if len(found) > limit else None,
    )


@router.post(
    "",
    status_code=201,
    responses=described(408, 413, 415),
    openapi_extra=body_of("NewToken", {"token": _EXAMPLE}),
)
async def create_token(request: Request, services: Serving, _caller: Admin) -> MadeToken:
    """Makes a token."""
    wanted = await _wanted(request, services)
    now = services.now()
    if wanted.expires_at is not None and wanted.expires_at <= now:
        raise Problem(422, "invalid-body", "expires_at lies in the past; such a token would never be good")
    text, token = new_token(wanted.name, wanted.role, now, wanted.expires_at)
    await services.change(request, 201, subject=token.id, detail=f"role {token.role}")
    await _put(services, token)
    return MadeToken(**_fields(token, now), token=text)


@router.delete("/{token_id}", status_code=204, responses=described(404, 409))
async def revoke_token(request: Request, token_id: TokenId, services: Serving, caller: Admin) -> None:
    """Revokes a token: from the next request on it is refused, by every process."""
    request.state.subject = token_id
    token = services.boards.tokens.items.get(token_id)
    if token is None:
        raise Problem(
            404, "unknown-token", f"there is no token {token_id}; GET /api/backfill/tokens lists all"
        )
    if token_id == caller.token.id:
        raise Problem(
            409, "own-token", "a token can't revoke itself; use another admin's, or the command line"
        )
    await services.change(request, 204, subject=token_id)
    if token.revoked_at is None:
        await _put(services, token.model_copy(update={"revoked_at": services.now()}))


async def _wanted(request: Request, services: Services) -> NewToken:
    said = await read_json(request, services.settings.api.body_bytes)
    try:
        return NewToken.model_validate(said)
    except ValidationError as error:
        raise problem_of([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error


async def _put(services: Services, token: ApiToken) -> None:
    await services.publisher.publish(services.names.tokens, token.id, token.encode(), PARTITIONS)


def _fields(token: ApiToken, now: datetime) -> dict[str, Any]:
    expired = token.expires_at is not None and token.expires_at <= now
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
        "good": token.revoked_at is None and not expired,
    }


def _sort_key(token: ApiToken) -> tuple[str, str]:
    return f"{token.created_at.timestamp():020.6f}", token.id
