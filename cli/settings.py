"""The settings of a command, and the deployment that it talks to. Each mistake is named with its key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from cli.backend import API_TOKEN, API_URL
from local.announcement import announced
from local.broker import require_answer
from schemas.errors import ConfigError
from schemas.secrets import is_secret_key, mask
from schemas.settings import SETTINGS_FILE, Settings

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", show_default=".skyfill", help="Folder of the embedded servers, logs and temporary files."
    ),
]
_PREFIX = "SKYFILL_"
_NEAR = 0.9
_OTHERS = frozenset({SETTINGS_FILE, API_URL, API_TOKEN})
"""Variables of this prefix that are no settings."""


def load_settings(**flags: Any) -> Settings:
    """The settings: defaults < file < environment < flags that are not None.

    ConfigError names each wrong one.
    """
    file = os.environ.get(SETTINGS_FILE)
    if file and not Path(file).is_file():
        raise ConfigError(f"the settings file {file} does not exist; see to {SETTINGS_FILE}")
    _refuse_misspelt()
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise ConfigError("\n".join(_wrong(details) for details in error.errors())) from error
    except SettingsError as error:
        raise ConfigError(f"{error}; a group of settings has to be JSON") from error
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise ConfigError(f"the settings file {file} is not a YAML mapping: {error}") from error


def data_settings(data: Path | None) -> Settings:
    """The settings, with the data folder of a flag."""
    return load_settings(data_dir=data)


def connected_settings(data: Path | None) -> Settings:
    """The settings with the address of a broker that answers: the configured one, or the embedded one of
    the deployment that runs in the data folder.

    Raises ConfigError if there is none to be found, DeploymentError if it does not answer.
    """
    settings = data_settings(data)
    if not settings.kafka.bootstrap_servers:
        found = announced(settings)
        if found is None:
            raise ConfigError(
                f"no broker: SKYFILL_KAFKA__BOOTSTRAP_SERVERS is not set, and no `skyfill up` runs with the "
                f"data folder {settings.data_dir} (name another with --data)"
            )
        settings = found
    require_answer(settings.kafka)
    return settings


def _wrong(details: Any) -> str:
    key = ".".join(map(str, details["loc"]))
    variable = _PREFIX + "__".join(map(str, details["loc"])).upper()
    if details["type"] == "extra_forbidden":
        return f"setting {key}: there is no such setting; docs/config.md lists all"
    if any(is_secret_key(str(part)) for part in details["loc"]):
        return f"setting {key} ({variable}): {details['msg']}"
    return f"setting {key} ({variable}): {details['msg']}, not {mask(repr(details['input']))}"


def _refuse_misspelt() -> None:
    """A variable that is nearly a setting's would be silently without effect."""
    known = known_variables()
    for name in os.environ:
        if name.startswith(_PREFIX) and name not in _OTHERS and name.upper() not in known:
            near = get_close_matches(name.upper(), known, 1, _NEAR)
            if near and not name.startswith(f"{_PREFIX}KAFKA__CLIENT__"):
                raise ConfigError(f"there is no setting {name}; did you mean {near[0]}?")


def known_variables() -> list[str]:
    """Every environment variable that is a setting."""
    return list(_variables(Settings, _PREFIX))


def _variables(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _variables(field.annotation, f"{prefix}{name.upper()}__")
