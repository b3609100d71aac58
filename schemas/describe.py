"""Says in words what a key of a JSON Schema takes: for error messages and for the reference in docs/.

Both come from the models' own schema, so they can't disagree with what is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from schemas.backfill import RECORD_TYPE_PATTERN, SHORT_NAMES
from schemas.scope import DID_PATTERN, DOMAIN_PATTERN, HOST_PATTERN
from schemas.secrets import SECRET_PATTERN, SECRET_WORDS
from schemas.section import NAME_PATTERN
from schemas.sources import COLLECTION_PATTERN, ORIGIN_PATTERN, S3_PATH_PATTERN, URL_PATTERN

Schema = dict[str, Any]
Path = Sequence[str | int]

_PATTERNS = {
    NAME_PATTERN: "letters, digits, `.`, `_` and `-`, the first a letter or digit",
    RECORD_TYPE_PATTERN: "a collection (`app.bsky.feed.post`), a family (`app.bsky.feed.*`) or one of "
    + ", ".join(SHORT_NAMES),
    r"^[A-Za-z0-9_.-]+$": "letters, digits, `_`, `.` and `-`",
    S3_PATH_PATTERN: "s3://BUCKET/KEY",
    ORIGIN_PATTERN: "the origin of a host, such as https://relay.example.com",
    URL_PATTERN: "a URL",
    COLLECTION_PATTERN: "a collection, such as app.bsky.feed.post",
    SECRET_PATTERN: SECRET_WORDS,
    DID_PATTERN: "a DID",
    HOST_PATTERN: "a host's name or origin",
    DOMAIN_PATTERN: "a domain, such as example.com",
}
_PLAIN = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}


class Described:
    """A model's JSON Schema, asked by key paths such as `("source", "inline", "dids", 0)`."""

    def __init__(self, schema: Schema) -> None:
        """`schema` is what pydantic's `model_json_schema` returns."""
        self.root = schema
        self._defs: Schema = schema.get("$defs", {})

    def resolve(self, schema: Schema) -> Schema:
        """Follows references and leaves null out; what the outer schema says of the key stays."""
        if "anyOf" in schema:
            inner = next(s for s in schema["anyOf"] if s.get("type") != "null")
            schema = inner | {k: v for k, v in schema.items() if k != "anyOf"}
        if "allOf" in schema:
            schema = schema["allOf"][0] | {k: v for k, v in schema.items() if k != "allOf"}
        if "$ref" in schema:
            target = self._defs[schema["$ref"].rsplit("/", 1)[1]]
            schema = target | {k: v for k, v in schema.items() if k != "$ref"}
        return schema

    def alternatives(self, schema: Schema) -> dict[str, Schema]:
        """A choice by `type`: each type's own schema. Empty for anything else."""
        mapping = schema.get("discriminator", {}).get("mapping", {})
        return {tag: self.resolve({"$ref": ref}) for tag, ref in mapping.items()}

    def at(self, path: Path) -> Schema | None:
        """What the schema says of a key path; None where it knows no such key."""
        schema: Schema | None = self.resolve(self.root)
        for part in path:
            if schema is None:
                return None
            choice = self.alternatives(schema)
            if isinstance(part, int):
                found = schema.get("items")
            elif choice:
                found = choice.get(part)
            else:
                found = schema.get("properties", {}).get(part)
            schema = self.resolve(found) if found is not None else None
        return schema

    def words(self, schema: Schema) -> str:
        """What a value has to be, e.g. `a whole number from 1 to 100`."""
        schema = self.resolve(schema)
        if choice := self.alternatives(schema):
            return f"a mapping with `type: {'`, `'.join(choice)}`"
        if "const" in schema:
            return f"`{schema['const']}`"
        if "enum" in schema:
            return "one of " + ", ".join(f"`{_as_yaml(value)}`" for value in schema["enum"])
        if schema.get("type") == "array":
            least = f" with at least {schema['minItems']} entry" if schema.get("minItems") else ""
            return f"a list{least}"
        if schema.get("type") == "object":
            return "a mapping"
        if schema.get("format") == "date":
            return "a day written YYYY-MM-DD"
        if schema.get("format") == "path":
            return "a path"
        plain = _PATTERNS.get(schema.get("pattern", ""), _PLAIN.get(schema.get("type", ""), "a value"))
        return plain + _bounds(schema)

    def holds_secret(self, schema: Schema) -> bool:
        """Whether a secret's reference belongs there or anywhere below: what stands there is not shown."""
        schema = self.resolve(schema)
        below = [*self.alternatives(schema).values(), *schema.get("properties", {}).values()]
        if "items" in schema:
            below.append(schema["items"])
        return schema.get("pattern") == SECRET_PATTERN or any(map(self.holds_secret, below))

    def leaves(
        self, schema: Schema | None = None, above: tuple[str, ...] = ()
    ) -> Iterator[tuple[tuple[str, ...], Schema, bool]]:
        """Every leaf key in order: its path (types included), its schema, and whether it is required."""
        schema = self.resolve(self.root if schema is None else schema)
        required = schema.get("required", ())
        for name, below in schema.get("properties", {}).items():
            found = self.resolve(below)
            element = self.resolve(found["items"]) if "items" in found else found
            if choice := self.alternatives(element):
                for tag, alternative in choice.items():
                    yield from self.leaves(alternative, (*above, name, tag))
            elif "properties" in found:
                yield from self.leaves(found, (*above, name))
            elif "properties" in element:
                yield (*above, name), found, name in required
                yield from self.leaves(element, (*above, f"{name}[]"))
            else:
                yield (*above, name), found, name in required


def did_you_mean(wrong: str, known: Sequence[str]) -> str:
    """All known words, the nearest first as a question."""
    near = get_close_matches(wrong, known, 1)
    listed = "known: " + ", ".join(f"`{k}`" for k in known)
    return f"did you mean `{near[0]}`? ({listed})" if near else listed


def _as_yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bounds(schema: Schema) -> str:
    low, high, above = (schema.get(k) for k in ("minimum", "maximum", "exclusiveMinimum"))
    if schema.get("type") == "string":
        low, high = schema.get("minLength"), schema.get("maxLength")
        unit = " characters"
        if low == 1 and high is None:
            return ", not empty"
        if low is None and high is None:
            return ""
        if low is None:
            return f", {high}{unit} at the most"
        return f", {low} to {high}{unit}" if high is not None else f", {low}{unit} or more"
    if above is not None:
        return f" above {above}" + (f", {high} at the most" if high is not None else "")
    if low is not None:
        return f" from {low} to {high}" if high is not None else f", {low} or more"
    return f", {high} at the most" if high is not None else ""
