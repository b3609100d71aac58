"""`skyfill token create|list|revoke`: who may use the API.

The first token is made straight through Kafka: whoever reaches the broker may do all that the API can.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Protocol

import typer

from cli.backend import Api, Token
from cli.console import err, out, table
from cli.logs import log_nothing
from cli.moments import ahead
from cli.settings import Data, connected_settings
from cli.words import one_line
from schemas.errors import ConfigError
from schemas.tokens import ROLES, ApiToken, Role

app = typer.Typer(no_args_is_help=True, help="Tokens for the API.")
_PATH = "/api/backfill/tokens"


class Tokens(Protocol):
    """All tokens of a deployment."""

    def create(self, name: str, role: Role, expires_at: datetime | None) -> str:
        """Makes one; its text, which nobody can tell again."""

    def all(self) -> list[ApiToken]:
        """Every token, the newest last."""

    def revoke(self, token_id: str) -> None:
        """Takes one back for good. ConfigError where there is none."""


@app.command("create")
def create(
    role: Annotated[
        str, typer.Option(help="viewer reads; operator also starts and turns jobs; admin also has tokens.")
    ],
    name: Annotated[str, typer.Option(help="What or whom it is for.")] = "",
    expires: Annotated[
        str | None, typer.Option(help="Until when it is good: 30d, 12h, a day, an instant; absent: for ever.")
    ] = None,
    api: Api = None,
    token: Token = None,
    data: Data = None,
) -> None:
    """Make a token and print it: once, since only its hash is kept."""
    log_nothing()
    if role not in ROLES:
        raise ConfigError(f"there is no role {role!r}; there are {', '.join(ROLES)}")
    until = ahead(expires, datetime.now(UTC)) if expires else None
    with _tokens(api, token, data) as tokens:
        text = tokens.create(name or f"a {role}", role, until)
    err.print("keep it well: nobody can tell it again")
    out.print(text)


@app.command("list")
def list_tokens(
    as_lines: Annotated[bool, typer.Option("--json", help="Print JSON, one line a token.")] = False,
    api: Api = None,
    token: Token = None,
    data: Data = None,
) -> None:
    """List tokens, also those that are no good any more; never what could be used as one."""
    log_nothing()
    with _tokens(api, token, data) as tokens:
        found = tokens.all()
    if as_lines:
        for one in found:
            out.print(one.model_dump_json(exclude={"hash"}))
        return
    now = datetime.now(UTC)
    shown = table("token", "name", "role", "made (UTC)", "until (UTC)", "")
    for one in found:
        until = _time(one.expires_at) if one.expires_at else "for ever"
        shown.add_row(
            one.id, one_line(one.name, 60), one.role, _time(one.created_at), until, _state(one, now)
        )
    out.print(shown)


@app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="The token's id, as `list` tells it.")],
    api: Api = None,
    token: Token = None,
    data: Data = None,
) -> None:
    """Take a token back for good: from now on no API process takes it."""
    log_nothing()
    with _tokens(api, token, data) as tokens:
        tokens.revoke(token_id)
    out.print(f"token {token_id} is revoked")


@contextmanager
def _tokens(api: str | None, token: str | None, data: Path | None) -> Iterator[Tokens]:
    if api is None:
        with closing(_KafkaTokens(data)) as kafka:
            yield kafka
    else:
        with closing(_ApiTokens(api, token)) as asked:
            yield asked


class _KafkaTokens:
    def __init__(self, data: Path | None) -> None:
        from messaging.token_book import TokenBook

        self._book = TokenBook(connected_settings(data).kafka)

    def create(self, name: str, role: Role, expires_at: datetime | None) -> str:
        """See Tokens."""
        from messaging.token_book import new_token

        text, made = new_token(name, role, datetime.now(UTC), expires_at)
        self._book.put(made)
        return text

    def all(self) -> list[ApiToken]:
        """See Tokens."""
        return self._book.all()

    def revoke(self, token_id: str) -> None:
        """See Tokens."""
        found = next((token for token in self._book.all() if token.id == token_id), None)
        if found is None:
            raise _unknown(token_id)
        if found.revoked_at is None:
            self._book.put(found.model_copy(update={"revoked_at": datetime.now(UTC)}))

    def close(self) -> None:
        """Leaves."""
        self._book.close()


class _ApiTokens:
    def __init__(self, url: str, token: str | None) -> None:
        from cli.api_client import ApiClient

        self._client = ApiClient(url, token)

    def create(self, name: str, role: Role, expires_at: datetime | None) -> str:
        """See Tokens."""
        wanted = {"name": name, "role": role}
        if expires_at is not None:
            wanted["expires_at"] = expires_at.isoformat()
        return str(self._client.ask("POST", _PATH, json=wanted)["token"])

    def all(self) -> list[ApiToken]:
        """See Tokens."""
        kept = [name for name in ApiToken.model_fields if name != "hash"]
        found = [
            ApiToken.model_validate({name: one.get(name) for name in kept} | {"hash": ""})
            for one in self._client.pages(_PATH, "tokens")
        ]
        return sorted(found, key=lambda token: (token.created_at, token.id))

    def revoke(self, token_id: str) -> None:
        """See Tokens."""
        from cli.api_client import NotFound

        if not token_id.isalnum():
            raise _unknown(token_id)
        try:
            self._client.ask("DELETE", f"{_PATH}/{token_id}")
        except NotFound as error:
            raise _unknown(token_id) from error

    def close(self) -> None:
        """Leaves."""
        self._client.close()


def _unknown(token_id: str) -> ConfigError:
    return ConfigError(f"there is no token {token_id[:80]!r}; `skyfill token list` lists those there are")


def _state(token: ApiToken, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else ""


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
