"""Documents as requests bring them: read, checked, and kept within the folders that the settings allow.

What may never break: nobody who may start jobs reads or writes any other file of this machine that way.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from api.body import Body
from api.problems import Problem
from schemas.backfill import Backfill
from schemas.configs import StoredConfig
from schemas.document import Mistake, load_document, mistakes_of, parse_document, plain_yaml
from schemas.errors import ConfigError

_NAME = "document"
_ENDPOINT = (
    "documents sent to the API read from AWS, or where the setting s3.endpoint_url says; another endpoint "
    "takes credentials of its own that the setting api.secrets allows"
)
_NAMES_CONFIG = re.compile(r"""(?m)^\s*["'{]*\s*["']?config["']?\s*:""")
"""Of a text without it, no more need be read to know that it names no stored config."""


class DocumentRefused(Exception):
    """A document with mistakes in it."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("; ".join(one.message for one in mistakes))
        self.mistakes = list(mistakes)

    @property
    def problem(self) -> Problem:
        """How a request that brought it ends."""
        count = len(self.mistakes)
        first = self.mistakes[0]
        place = f"{first.key}: " if first.key else ""
        rest = f" (and {count - 1} more, see `errors`)" if count > 1 else ""
        return Problem(422, "invalid-document", f"{place}{first.message}{rest}", errors=self.mistakes)


async def read_document(body: Body, at_once: asyncio.Semaphore) -> Backfill:
    """The document of a body. Raises DocumentRefused. In a thread: a large one takes a second or two."""
    async with at_once:
        return await asyncio.to_thread(_document, body)


async def read_start(body: Body, configs: Mapping[str, StoredConfig], at_once: asyncio.Semaphore) -> Backfill:
    """The document of a body, or of the stored config that it names, with its overrides.

    Raises DocumentRefused, and Problem 404 for a config that is not there.
    """
    async with at_once:
        return await asyncio.to_thread(_start, body, dict(configs))


def folders_of(folders: Sequence[Path] | None) -> list[Path]:
    """The folders that documents may name, resolved; without any the one that the process was started in."""
    return [folder.expanduser().resolve() for folder in folders or [Path.cwd()]]


def confined(
    backfill: Backfill,
    folders: Sequence[Path],
    *,
    endpoint_url: str | None = None,
    secrets: Sequence[str] = (),
) -> Backfill:
    """The document with all its paths resolved, relative ones from the first of `folders`.

    Raises DocumentRefused for a path that leads out of all of them, also by way of a link; and for an S3
    endpoint other than `endpoint_url`, that of the settings, unless the document names credentials for it of
    which each fits a pattern in `secrets`: what is asked of it comes from this machine, and what it is sent
    is this machine's.
    """
    data = backfill.model_dump(mode="json")
    places = [("source", data["source"])]
    places += [(f"storage[{number}]", storage) for number, storage in enumerate(data["storage"])]
    mistakes = list(_sent_away(data["source"], endpoint_url, secrets))
    for place, section in places:
        if "path" not in section or "://" in section["path"]:
            continue
        try:
            path = (folders[0] / Path(section["path"]).expanduser()).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            mistakes.append(Mistake(None, f"backfill.{place}.path", f"this path can't be used: {error}"))
            continue
        if any(path.is_relative_to(folder) for folder in folders):
            section["path"] = str(path)
        else:
            mistakes.append(
                Mistake(
                    None,
                    f"backfill.{place}.path",
                    "this path lies outside the folders that documents sent to the API may name "
                    "(the setting api.folders)",
                )
            )
    if mistakes:
        raise DocumentRefused(mistakes)
    return Backfill.model_validate(data)


def _sent_away(
    source: Mapping[str, Any], endpoint_url: str | None, allowed: Sequence[str]
) -> Iterator[Mistake]:
    """What a request wants this machine to ask, or to send, at a place of the request's choice."""
    if source.get("endpoint_url") in (None, endpoint_url):
        return
    keys = ("access_key_id", "secret_access_key", "session_token")
    given = {key: reference for key in keys if (reference := source.get(key))}
    if not given:
        yield Mistake(None, "backfill.source.endpoint_url", _ENDPOINT)
    for key, reference in given.items():
        name = reference.removeprefix("${").removesuffix("}")
        if not any(fnmatchcase(name, pattern) for pattern in allowed):
            yield Mistake(
                None,
                f"backfill.source.{key}",
                "this secret would be sent to `endpoint_url`, and the setting api.secrets does not allow "
                "documents that come through the API to do so with this reference",
            )


def merged(document: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`document` with `overrides` put over it, mapping into mapping; anything else takes a value's place."""
    result = dict(document)
    for key, value in overrides.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            # A source or store of another type shares no key with the one before it.
            other = "type" in value and value["type"] != below.get("type")
            result[key] = value if other else merged(below, value)
        else:
            result[key] = value
    return result


def _start(body: Body, configs: Mapping[str, StoredConfig]) -> Backfill:
    stored = _stored(body)
    if stored is None:
        return _document(body)
    wrong = [
        Mistake(None, str(key), "there is no such key; a stored config takes `config` and `overrides`")
        for key in stored
        if key not in ("config", "overrides")
    ]
    name, overrides = stored["config"], stored.get("overrides")
    if not isinstance(name, str):
        wrong.append(Mistake(None, "config", "it has to be a stored config's name"))
    if overrides is not None and not isinstance(overrides, dict):
        wrong.append(Mistake(None, "overrides", "it has to be a mapping of keys below `backfill:`"))
    if wrong:
        raise DocumentRefused(wrong)
    config = configs.get(name)
    if config is None:
        raise Problem(
            404, "unknown-config", f"there is no config {name!r}; GET /api/backfill/configs lists all"
        )
    return _parsed(merged(config.backfill.model_dump(mode="json"), overrides or {}))


def _stored(body: Body) -> dict[str, Any] | None:
    """The body where it names a stored config, and is no document."""
    if body.form == "json":
        said = body.json()
    elif not _NAMES_CONFIG.search(body.text):
        return None
    else:
        said = plain_yaml(body.text)
    return said if isinstance(said, dict) and "config" in said and "backfill" not in said else None


def _document(body: Body) -> Backfill:
    try:
        if body.form == "yaml":
            return load_document(body.text, name=_NAME)
    except ConfigError as error:
        raise DocumentRefused(mistakes_of(error, name=_NAME)) from error
    said = body.json()
    if not isinstance(said, dict) or "backfill" not in said:
        raise DocumentRefused(
            [Mistake(None, "backfill", "the key `backfill` is missing; all else goes below it")]
        )
    if others := sorted(set(said) - {"backfill"}):
        raise DocumentRefused(
            [Mistake(None, key, "unknown key; all goes below `backfill`") for key in others]
        )
    return _parsed(said["backfill"])


def _parsed(section: Any) -> Backfill:
    try:
        return parse_document(section)
    except ConfigError as error:
        raise DocumentRefused(mistakes_of(error, name=_NAME)) from error
