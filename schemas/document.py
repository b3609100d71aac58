"""Reads a `backfill` document from YAML and says all that is wrong with it at once, line by line.

Nobody should need to know pydantic, or to try again for each mistake, to get a document right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.backfill import SHORT_NAMES, Backfill
from schemas.describe import Described, did_you_mean
from schemas.errors import ConfigError
from schemas.secrets import mask, mentions_secret

_ROOT = "backfill"
_LONGEST_VALUE = 60
_MOST_MISTAKES = 100
_DEEPEST = 100
_BRACKETS = re.compile(r"[\[\]{}]")
_MANY_DASHES = re.compile(rf"(?:[-?:][ \t]+){{{_DEEPEST},}}")
_QUICK: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Some twenty times as fast, where libyaml is there."""
Line = Callable[[Sequence[str | int]], str]
"""Where a key path stands, as the beginning of a message; empty where nobody knows."""


def load_document(document: Path | str, *, name: str = "document") -> Backfill:
    """Reads `{backfill: {...}}` from a YAML (or JSON) file, or from text, called `name` in messages.

    Raises ConfigError with one line for each mistake: `file:line: key.path: what is wrong`.
    """
    if isinstance(document, Path):
        name = str(document)
        try:
            text = document.read_text("utf-8-sig")
        except OSError as error:
            raise ConfigError(f"{name}: {error.strerror}; name a YAML file that holds `backfill:`") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{name}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    else:
        text = document
    root, data = _read(text, name)
    if not isinstance(data, dict) or not isinstance(root, yaml.MappingNode):
        found = "is empty" if data is None else f"is {_kind(data)}"
        raise ConfigError(f"{name}: {found}; it has to be a mapping with the key `{_ROOT}:`")

    def line(path: Sequence[str | int]) -> str:
        return f"{name}:{_node(root, path).start_mark.line + 1}: "

    wrong = list(_repeated(root, name))
    wrong += [f"{line([k])}{k}: unknown key; did you mean `{_ROOT}`?" for k in data if k != _ROOT]
    if _ROOT not in data:
        raise ConfigError(
            "\n".join([*wrong, f"{name}: the key `{_ROOT}:` is missing; all else goes below it"])
        )
    return _validated(data[_ROOT], line, wrong)


def parse_document(section: Mapping[str, Any]) -> Backfill:
    """Reads what stands below `backfill:`, as a mapping. Raises ConfigError, one line for each mistake."""
    return _validated(section, lambda path: "", [])


def plain_yaml(text: str) -> Any:
    """What a YAML text says, of whatever form; None where it is no YAML."""
    try:
        return _read(text, "text")[1]
    except ConfigError:
        return None


def _read(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    if _is_too_deep(text):
        raise ConfigError(f"{name}: not valid YAML: nested over {_DEEPEST} levels deep")
    try:
        return _loaded(_QUICK, text)
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError):
        pass  # the other one says better where and why
    try:
        return _loaded(yaml.SafeLoader, text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "?"
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{name}:{place}: not valid YAML: {_unquoted(what, text)}") from error
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{name}: not text: {error.reason} at character {error.position}") from error
    except (ValueError, RecursionError, AttributeError) as error:
        # The 45th of a month; a thousand brackets; `!!timestamp` before what is none.
        raise ConfigError(f"{name}: not valid YAML: {_unquoted(str(error), text)}") from error


def _loaded(kind: Any, text: str) -> tuple[yaml.Node | None, Any]:
    loader = kind(text)
    root = loader.get_single_node()
    return root, None if root is None else loader.construct_document(root)


def _is_too_deep(text: str) -> bool:
    """Whether brackets, or dashes of one line, lie in each other more often than anybody means it.

    Read before it is parsed: libyaml's binding overflows the stack, and the other parser takes minutes.
    """
    if _MANY_DASHES.search(text):
        return True
    depth = 0
    for bracket in _BRACKETS.findall(text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        if depth > _DEEPEST:
            return True
    return False


def _unquoted(what: str, text: str) -> str:
    """What is wrong without the words that are quoted of a text that mentions a secret: an alias, a tag."""
    return re.sub(r"'.*'", "'…'", what, flags=re.DOTALL) if mentions_secret(text) else what


def _repeated(root: yaml.Node, name: str) -> Iterator[str]:
    """Keys that stand twice in one mapping: YAML would silently take the last."""
    nodes, visited = [root], set()
    while nodes:
        node = nodes.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                nodes.append(value)
                at = key.start_mark.line + 1
                if isinstance(key.value, str) and first.setdefault(key.value, at) != at:
                    yield f"{name}:{at}: {key.value}: this key stands in line {first[key.value]} already"


def _node(node: yaml.Node, path: Sequence[str | int]) -> yaml.Node:
    """The node of the deepest key along `path` that is there."""
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs: list[tuple[yaml.Node, yaml.Node]] = [pair for pair in node.value if pair[0].value == part]
            if not pairs:
                return node
            key, value = pairs[0]
            if part == path[-1]:
                return key
            node = value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
    return node


def _validated(section: object, line: Line, wrong: list[str]) -> Backfill:
    if not isinstance(section, Mapping):
        found = "is empty" if section is None else f"is {_kind(section)}"
        raise ConfigError("\n".join([*wrong, f"{line([_ROOT])}{_ROOT}: {found}; it has to be a mapping"]))
    try:
        backfill = Backfill.model_validate(section)
    except ValidationError as error:
        described = Described(Backfill.model_json_schema())
        for details in error.errors(include_url=False)[:_MOST_MISTAKES]:
            path = _path(section, details["loc"])
            text = mask(_message(described, details))
            wrong.append(f"{line([_ROOT, *path])}{_dotted(path)}: {text}")
        if (more := error.error_count() - _MOST_MISTAKES) > 0:
            wrong.append(f"{line([_ROOT])}{_ROOT}: and {more:,} more mistakes")
        raise ConfigError("\n".join(wrong)) from error
    if wrong:
        raise ConfigError("\n".join(wrong))
    return backfill


def _path(section: object, location: Sequence[str | int]) -> list[str | int]:
    """pydantic's location without what stands nowhere in the document: types, and the 0 of a lone store."""
    path: list[str | int] = []
    data = section
    for place, part in enumerate(location):
        if isinstance(data, Mapping):
            last = place == len(location) - 1
            if isinstance(part, int) or (data.get("type") == part and not last):
                continue
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int):
            data = data[part] if part < len(data) else None
        path.append(part)
    return path


def _dotted(path: Sequence[str | int]) -> str:
    text = _ROOT
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text


def _message(described: Described, details: ErrorDetails) -> str:
    location, value = details["loc"], details["input"]
    schema = described.at(location)
    if details["type"] == "extra_forbidden":
        parent = described.at(location[:-1]) or {}
        return f"unknown key; {did_you_mean(str(location[-1]), list(parent.get('properties', ())))}"
    if schema is None:
        return details["msg"]
    if details["type"] == "missing":
        return f"is missing: {schema.get('description', '')} It has to be {described.words(schema)}".strip()
    if details["type"] == "value_error":
        return str(details["ctx"]["error"])
    if details["type"] == "union_tag_not_found":
        return f"`type` is missing; known: {', '.join(f'`{t}`' for t in described.alternatives(schema))}"
    if details["type"] == "union_tag_invalid":
        tag = str(details["ctx"]["tag"])
        known = list(described.alternatives(schema))
        return f"unknown type {_shown(tag)}; {did_you_mean(tag, known)}"
    hint = ""
    if details["type"] == "string_pattern_mismatch" and location[0] == "record_types":
        hint = "; " + did_you_mean(str(value), list(SHORT_NAMES))
    elif "default" in schema and schema["default"] not in (None, [], {}):
        hint = f" (default {schema['default']})"
    shown = "what stands there" if described.holds_secret(schema) else _shown(value)
    return f"{shown} does not fit: it has to be {described.words(schema)}{hint}"


def _shown(value: object) -> str:
    if isinstance(value, Mapping | list) or value is None:
        return _kind(value)
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "plain text" if isinstance(value, str) else repr(value)


class Mistake(NamedTuple):
    """One line of a ConfigError about a document, taken apart."""

    line: int | None
    key: str | None
    message: str


def mistakes_of(error: ConfigError, *, name: str = "document") -> list[Mistake]:
    """Each mistake by itself, of an error that `load_document` or `parse_document` raised under this name."""
    form = re.compile(
        rf"(?:{re.escape(name)}(?::(\d+))?(?::\d+)?: )?(?:({_ROOT}[^\s:]*|\S+): )?(.*)", re.DOTALL
    )
    found: list[Mistake] = []
    for text in str(error).split("\n"):
        parts = form.fullmatch(text)
        assert parts is not None  # the last part takes anything
        line, key, message = parts.groups()
        if message:
            found.append(Mistake(int(line) if line else None, key, message))
    return found
