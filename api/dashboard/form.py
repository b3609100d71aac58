"""Form and document, each made from the other. Pure, and no judge: the API alone says what is a mistake.

What may never break: keys that the form has no field for pass through it unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import date
from typing import Any

import yaml

from api.dashboard.fields import PLAIN, RECORD_TYPES, SOURCES, STORES, FormField, Group
from schemas.backfill import Backfill

Section = dict[str, Any]
"""What stands below `backfill:`, as YAML or JSON reads it."""
Fields = Mapping[str, Sequence[str]]
"""Names of inputs and their values, as a browser sends them."""
_WORDS = re.compile(r"[\s,]+")
_SWITCHES = {"true": True, "false": False}


def document_of(fields: Fields, base: Mapping[str, Any] | None = None) -> Section:
    """The document that a filled-in form means; `base` is the one that the form was made from."""
    section = deepcopy(dict(base or {}))
    for field in PLAIN:
        _put(section, field, fields)
    types = [word for word in fields.get("record_types", ()) if word in RECORD_TYPES]
    _set(section, ("record_types",), types + _words(fields, "more_types"))
    wanted = _first(fields, "source")
    before = section.get("source")
    source = (
        dict(before) if isinstance(before, Mapping) and before.get("type") == wanted else {"type": wanted}
    )
    for field in _group(SOURCES, wanted).fields if wanted else ():
        _put(source, field, fields)
    section["source"] = source
    section["storage"] = _storage(fields, section.get("storage"))
    # In the order in which people read it.
    first = ("name", "source", "record_types", "time_range")
    return {key: section[key] for key in first if key in section} | section


def fields_of(section: Mapping[str, Any]) -> dict[str, list[str]]:
    """The form that shows a document, as far as it has fields for it."""
    fields = {field.name: _shown(_get(section, field.path)) for field in PLAIN}
    types = _shown(section.get("record_types"))
    fields["record_types"] = [word for word in types if word in RECORD_TYPES]
    fields["more_types"] = ["\n".join(word for word in types if word not in RECORD_TYPES)]
    source = section.get("source")
    if isinstance(source, Mapping):
        fields["source"] = _shown(source.get("type"))
        fields |= _group_fields(_group(SOURCES, str(source.get("type"))), source)
    stores = _stores(section.get("storage"))
    fields["storage"] = []
    for group in STORES:
        first = next((store for store in stores if store.get("type") == group.type), None)
        if first is not None:
            fields["storage"].append(group.type)
            fields |= _group_fields(group, first)
    return fields


def field_of(key: str, section: Mapping[str, Any]) -> str | None:
    """The input that a mistake belongs to; `key` as the API names it: `backfill.storage[0].path`."""
    path = re.sub(r"\[\d+\]", "", key).split(".")[1:]
    if not path:
        return None
    if path[0] == "source":
        source = section.get("source")
        kind = str(source.get("type")) if isinstance(source, Mapping) else ""
        return _named(_group(SOURCES, kind), path[1:]) or "source"
    if path[0] == "storage":
        found = re.search(r"\[(\d+)\]", key)
        stores, place = _stores(section.get("storage")), int(found[1]) if found else 0
        kind = str(stores[place].get("type")) if place < len(stores) else ""
        return _named(_group(STORES, kind), path[1:]) or "storage"
    if path[0] == "record_types":
        return "more_types"
    exact = (field.name for field in PLAIN if list(field.path) == path)
    # A mistake of a whole mapping, such as two days in the wrong order, shows at the first of its fields.
    return next(exact, next((field.name for field in PLAIN if field.path[0] == path[-1]), None))


def yaml_of(section: Mapping[str, Any]) -> str:
    """The whole document as people write it."""
    return yaml.safe_dump({"backfill": dict(section)}, sort_keys=False, allow_unicode=True, width=100)


def document_in_short(backfill: Backfill) -> Section:
    """A job's document as its user may have written it: what is as it is by default is left out."""
    return backfill.model_dump(mode="json", exclude_defaults=True)


def section_of(text: str) -> Section | None:
    """What stands below `backfill:` in a text; None where that can't be told, for the API to say why."""
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    section = data.get("backfill") if isinstance(data, Mapping) else None
    return dict(section) if isinstance(section, Mapping) else None


def _storage(fields: Fields, before: object) -> list[Section]:
    """The first store of each kind is the form's; further ones stay as they are."""
    stores, wanted = _stores(before), set(fields.get("storage", ()))
    kept: list[Section] = []
    for group in STORES:
        of_kind = [store for store in stores if store.get("type") == group.type]
        if group.type in wanted:
            store = dict(of_kind[0]) if of_kind else {"type": group.type}
            for field in group.fields:
                _put(store, field, fields)
            kept.append(store)
        kept += of_kind[1:]
    return kept + [store for store in stores if store.get("type") not in {group.type for group in STORES}]


def _stores(storage: object) -> list[Section]:
    one_or_many = storage if isinstance(storage, list) else [storage]
    return [dict(store) for store in one_or_many if isinstance(store, Mapping)]


def _group(groups: Sequence[Group], kind: str) -> Group:
    return next((group for group in groups if group.type == kind), Group(kind, kind, ()))


def _group_fields(group: Group, section: Mapping[str, Any]) -> dict[str, list[str]]:
    return {field.name: _shown(_get(section, field.path), field) for field in group.fields}


def _named(group: Group, path: Sequence[str]) -> str | None:
    return next((field.name for field in group.fields if path and field.path == (path[0],)), None)


def _put(section: Section, field: FormField, fields: Fields) -> None:
    """An input that was left empty, or as it is by default, needs no key."""
    value: object
    if field.kind == "words":
        value = _words(fields, field.name)
    elif field.kind == "choices":
        value = list(fields.get(field.name, ()))
    else:
        text = _first(fields, field.name)
        value = None if text in ("", field.default) else _typed(text, field)
    _set(section, field.path, value)


def _typed(text: str, field: FormField) -> object:
    if field.kind == "number":
        try:
            return float(text) if "." in text else int(text)
        except ValueError:
            return text
    return _SWITCHES.get(text, text) if field.kind == "choice" else text


def _set(section: Section, path: Sequence[str], value: object) -> None:
    """Sets a key; nothing, or an empty list, takes it away, and the mapping around it if that is empty."""
    *parents, key = path
    at: Section = section
    for parent in parents:
        inner = at.get(parent)
        at[parent] = dict(inner) if isinstance(inner, Mapping) else {}
        at = at[parent]
    if value is None or value == []:
        at.pop(key, None)
    else:
        at[key] = value
    if parents and not section[parents[0]]:
        del section[parents[0]]


def _get(section: Mapping[str, Any], path: Sequence[str]) -> object:
    at: object = section
    for key in path:
        at = at.get(key) if isinstance(at, Mapping) else None
    return at


def _shown(value: object, field: FormField | None = None) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list):
        words = [str(word) for word in value]
        return ["\n".join(words)] if field is not None and field.kind == "words" else words
    if isinstance(value, bool):
        return [str(value).lower()]
    return [value.isoformat() if isinstance(value, date) else str(value)]


def _first(fields: Fields, name: str) -> str:
    return next((value.strip() for value in fields.get(name, ())), "")


def _words(fields: Fields, name: str) -> list[str]:
    return [word for text in fields.get(name, ()) for word in _WORDS.split(text) if word]
