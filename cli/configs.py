"""`skyfill configs list|show|put|delete|export`: documents that the deployment keeps, by name.

Secrets in them are references, so that they may be shown and exported as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from pydantic import ValidationError

from cli.backend import Api, Token
from cli.console import err, out, table
from cli.logs import log_nothing
from cli.settings import Data, connected_settings
from cli.words import one_line
from messaging.config_book import document_text, is_config_name
from schemas.backfill import Backfill
from schemas.configs import StoredConfig
from schemas.document import load_document
from schemas.errors import ConfigError
from schemas.words import counted

app = typer.Typer(no_args_is_help=True, help="Stored configs: documents that jobs are started from by name.")
Name = Annotated[str, typer.Argument(help="The config's name.")]
_PATH = "/api/backfill/configs"
_BY_HAND = "command-line"
"""Who wrote a config that no token did."""


class Configs(Protocol):
    """All stored configs of a deployment."""

    def all(self) -> list[StoredConfig]:
        """Every config, by name."""

    def find(self, name: str) -> StoredConfig | None:
        """The config of this name."""

    def put(self, name: str, backfill: Backfill) -> None:
        """Stores a document, whether or not there is one of this name."""

    def delete(self, name: str) -> None:
        """Deletes one that is there."""


@app.command("list")
def list_configs(api: Api = None, token: Token = None, data: Data = None) -> None:
    """List all stored configs."""
    log_nothing()
    with _configs(api, token, data) as configs:
        found = configs.all()
    shown = table("config", "source", "written (UTC)", "by")
    for one in found:
        written = one.updated_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        shown.add_row(one.name, one.backfill.source.type, written, one_line(one.updated_by, 40))
    out.print(shown)


@app.command("show")
def show(name: Name, api: Api = None, token: Token = None, data: Data = None) -> None:
    """Print a stored config as the document that `skyfill start` takes."""
    log_nothing()
    with _configs(api, token, data) as configs:
        out.print(document_text(_known(configs, name).backfill), end="")


@app.command("put")
def put(
    config: Annotated[Path, typer.Argument(help="The YAML document.")],
    name: Annotated[str | None, typer.Option(help="Its name.", show_default="the document's")] = None,
    api: Api = None,
    token: Token = None,
    data: Data = None,
) -> None:
    """Store a document under a name; what was there before is replaced."""
    log_nothing()
    backfill = load_document(config)
    chosen = name or backfill.name
    if not is_config_name(chosen):
        raise ConfigError(
            f"{chosen[:100]!r} can't name a config: letters, digits, `.`, `_` and `-`, the first a letter or "
            f"digit"
        )
    with _configs(api, token, data) as configs:
        configs.put(chosen, backfill)
    out.print(chosen)


@app.command("delete")
def delete(name: Name, api: Api = None, token: Token = None, data: Data = None) -> None:
    """Delete a stored config. Jobs that were started from it keep their document."""
    log_nothing()
    with _configs(api, token, data) as configs:
        _known(configs, name)
        configs.delete(name)
    out.print(f"config {name} is deleted")


@app.command("export")
def export(
    folder: Annotated[Path, typer.Argument(help="The folder; made if it does not exist.")],
    api: Api = None,
    token: Token = None,
    data: Data = None,
) -> None:
    """Write all stored configs into a folder, as NAME.yaml. Files of these names are replaced."""
    log_nothing()
    with _configs(api, token, data) as configs:
        found = configs.all()
    folder.mkdir(parents=True, exist_ok=True)
    for one in found:
        (folder / f"{one.name}.yaml").write_text(document_text(one.backfill), encoding="utf-8")
    err.print(f"{counted(len(found), 'config', 'configs')} written to {folder}")


def _known(configs: Configs, name: str) -> StoredConfig:
    found = configs.find(name) if is_config_name(name) else None
    if found is None:
        raise ConfigError(f"there is no stored config {name[:100]}; `skyfill configs list` lists them")
    return found


@contextmanager
def _configs(api: str | None, token: str | None, data: Path | None) -> Iterator[Configs]:
    if api is None:
        with closing(_KafkaConfigs(data)) as kafka:
            yield kafka
    else:
        with closing(_ApiConfigs(api, token)) as asked:
            yield asked


class _KafkaConfigs:
    def __init__(self, data: Path | None) -> None:
        from messaging.names import Names
        from messaging.views import CompactedView

        self._kafka = connected_settings(data).kafka
        self._topic = Names(self._kafka.topic_prefix).configs
        self._view = CompactedView(self._kafka, self._topic, StoredConfig.decode)
        self._view.catch_up()

    def all(self) -> list[StoredConfig]:
        """See Configs."""
        return sorted(self._view.items.values(), key=lambda config: config.name)

    def find(self, name: str) -> StoredConfig | None:
        """See Configs."""
        return self._view.items.get(name)

    def put(self, name: str, backfill: Backfill) -> None:
        """See Configs."""
        now = datetime.now(UTC)
        stored = StoredConfig(name=name, backfill=backfill, updated_at=now, updated_by=_BY_HAND)
        self._send(name, stored.encode())

    def delete(self, name: str) -> None:
        """See Configs."""
        self._send(name, None)

    def close(self) -> None:
        """Leaves."""
        self._view.close()

    def _send(self, name: str, value: bytes | None) -> None:
        from messaging import clients
        from messaging.config_book import PARTITIONS
        from messaging.partitioner import partition_for
        from messaging.sending import Outgoing, send_all

        message = Outgoing(name, value, partition_for(name, PARTITIONS))
        send_all(clients.producer(self._kafka), self._topic, [message])


class _ApiConfigs:
    def __init__(self, url: str, token: str | None) -> None:
        from cli.api_client import ApiClient

        self._client = ApiClient(url, token)

    def all(self) -> list[StoredConfig]:
        """See Configs."""
        names = [one["name"] for one in self._client.pages(_PATH, "configs")]
        return [found for name in names if (found := self.find(name)) is not None]

    def find(self, name: str) -> StoredConfig | None:
        """See Configs."""
        said: Any = self._client.find(f"{_PATH}/{name}")
        if said is None:
            return None
        try:
            return StoredConfig.model_validate({key: said.get(key) for key in StoredConfig.model_fields})
        except ValidationError as error:
            raise self._client.unfit(error) from error

    def put(self, name: str, backfill: Backfill) -> None:
        """See Configs."""
        self._client.ask("PUT", f"{_PATH}/{name}", json={"backfill": backfill.model_dump(mode="json")})

    def delete(self, name: str) -> None:
        """See Configs."""
        self._client.ask("DELETE", f"{_PATH}/{name}")

    def close(self) -> None:
        """Leaves."""
        self._client.close()
