"""Secrets in documents are references, and texts that people see are masked.

What may never break: a literal in a secret key is refused by an error that does not repeat it. A document
travels through topics, logs, answers and exports; the value of a secret is in none of them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator, Field

from schemas.errors import ConfigError

SECRET_PATTERN = r"^\$\{(env:[A-Za-z_][A-Za-z0-9_]*|file:/[^{}]+)\}$"
SECRET_WORDS = "a reference, `${env:NAME}` or `${file:/path}`"
MASKED = "***"
LEFT_OUT = "(left out: it can't be read as JSON, and it mentions a secret)"
_LONGEST_SECRET = 64 * 1024

_SECRET_KEY = re.compile(r"(?i)secret|passw|token|credential|(access|api|private)[_ -]?key")
"""Also keys that are misspelt, or that only look alike: what stands there may be meant to be secret."""
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_NAME = r"[\w.-]*(?:token|secret|signature|password|passwd|api[_-]?key|access[_-]?key(?:[_-]?id)?|credential)"
_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<=://)[^/\s@\"'<>]{1,512}@"), f"{MASKED}@"),
    (re.compile(r"(?i)\b(bearer|basic) +[a-z0-9._~+/=-]{6,}"), rf"\1 {MASKED}"),
    (re.compile(r"(?i)\b(x-amz-[a-z0-9-]{1,40}=)[^&\s\"'<>#]+"), rf"\1{MASKED}"),
    (re.compile(rf"(?i)((?:^|[?&;\s\"'(,])(?:{_NAME}|sig)=)[^&\s\"'<>#;,)]+"), rf"\1{MASKED}"),
    (re.compile(rf"(?i)(\"{_NAME}\"\s*:\s*\")(?!\$\{{)(?:[^\"\\]|\\.)*"), rf"\1{MASKED}"),
    (re.compile(r"\b(skf_[0-9a-f]{10}_)[A-Za-z0-9_-]+"), rf"\1{MASKED}"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]+"), f"whsec_{MASKED}"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"), MASKED),
)


def _reference(value: object) -> object:
    if not isinstance(value, str) or re.fullmatch(SECRET_PATTERN, value) is None:
        raise ValueError(f"a secret may not stand in a document: it has to be {SECRET_WORDS}")
    return value


SecretReference = Annotated[str, Field(pattern=SECRET_PATTERN), BeforeValidator(_reference)]
"""A document's key for a secret. `reveal` gives the value where it is needed, and only there."""


def reveal(reference: str) -> str:
    """The secret that a reference names, as this process has it: a variable, or a file without its last
    line's end.

    ConfigError names the variable or the file, never what is in it.
    """
    kind, _, name = reference.removeprefix("${").removesuffix("}").partition(":")
    if re.fullmatch(SECRET_PATTERN, reference) is None:
        raise ConfigError(f"a secret has to be {SECRET_WORDS}")
    if kind == "env":
        if not (found := os.environ.get(name)):
            raise ConfigError(
                f"{reference}: the environment variable {name} is not set where it is needed; set it for "
                f"the process that says so, and start that again"
            )
        return found
    try:
        with Path(name).open(encoding="utf-8") as file:
            text = file.read(_LONGEST_SECRET + 1)
    except OSError as error:
        raise ConfigError(
            f"{reference}: the file can't be read where it is needed: {error.strerror}"
        ) from error
    except UnicodeDecodeError:
        raise ConfigError(f"{reference}: the file is not UTF-8 text") from None
    if len(text) > _LONGEST_SECRET:
        raise ConfigError(f"{reference}: the file is too large for a secret")
    if not (found := text.removesuffix("\n").removesuffix("\r")):
        raise ConfigError(f"{reference}: the file is empty")
    return found


ACCESS_KEY_ID: Any = Field(None, description="AWS credentials of its own; absent: the usual AWS chain.")
SECRET_ACCESS_KEY: Any = Field(None, description="Belongs to `access_key_id`.")
SESSION_TOKEN: Any = Field(None, description="Of temporary credentials.")


class HasCredentials(Protocol):
    """A section of a document with the three keys of AWS's credentials."""

    @property
    def access_key_id(self) -> str | None: ...
    @property
    def secret_access_key(self) -> str | None: ...
    @property
    def session_token(self) -> str | None: ...


def credentials_together(section: HasCredentials) -> None:
    """ValueError where an id stands without its key, or the other way round."""
    if (section.access_key_id is None) != (section.secret_access_key is None):
        raise ValueError("access_key_id and secret_access_key belong together; give both or none")
    if section.session_token is not None and section.access_key_id is None:
        raise ValueError("session_token belongs to an access_key_id and a secret_access_key; give all three")


def aws_credentials(section: HasCredentials) -> dict[str, Any]:
    """What boto3 takes as a client's or a session's credentials; empty for those of the usual chain.

    ConfigError for a reference that can't be revealed.
    """
    given = {
        "aws_access_key_id": section.access_key_id,
        "aws_secret_access_key": section.secret_access_key,
        "aws_session_token": section.session_token,
    }
    return {name: reveal(reference) for name, reference in given.items() if reference is not None}


def is_secret_key(name: str) -> bool:
    """Whether what stands under this key may be meant to be secret."""
    return _SECRET_KEY.search(name) is not None


def mentions_secret(text: str) -> bool:
    """Whether a text has the name of such a key anywhere, also with its letters escaped as in JSON."""
    return is_secret_key(_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text))


def mask(text: str) -> str:
    """The text without what looks like a secret: in URLs, headers, parameters, and keys by their form.

    For the details of errors that come from elsewhere. It errs towards hiding too much.
    """
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def masked_json(text: str) -> str:
    """A command as it may be shown: the values of secret keys masked unless they are references.

    Returned as it is where nothing is secret; left out, with a note, where it can't be read.
    """
    found: list[str] = []

    def masked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # All pairs, since a key that stands twice would hide its first value from whoever looks later.
        kept = {}
        for name, value in pairs:
            if is_secret_key(name):
                found.append(name)
                value = _without_values(value)
            kept[name] = value
        return kept

    try:
        data = json.loads(text, object_pairs_hook=masked)
    except (ValueError, RecursionError):
        return LEFT_OUT if mentions_secret(text) else mask(text)
    return mask(json.dumps(data, ensure_ascii=False) if found else text)


def _without_values(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _without_values(below) for name, below in value.items()}
    if isinstance(value, list):
        return [_without_values(below) for below in value]
    if value is None or (isinstance(value, str) and re.fullmatch(SECRET_PATTERN, value)):
        return value
    return MASKED
