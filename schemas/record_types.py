"""What the record types of a document take in: collections, families, and the two halves of the posts."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.backfill import SHORT_NAMES

_POST = SHORT_NAMES["post"]


def contains(have: Iterable[str], want: Iterable[str]) -> bool:
    """Whether every record that `want` takes in is taken in by `have`. Empty is all."""
    has, wants = _parts(have), _parts(want)
    if has is None:
        return True
    return wants is not None and all(_is_in(part, has) for part in wants)


def _parts(types: Iterable[str]) -> set[str] | None:
    """Families, collections, and `post` or `reply` for one half of the posts; None: all."""
    parts = set(types)
    if not parts:
        return None
    halves = parts & {"post", "reply"}
    collections = {SHORT_NAMES.get(part, part) for part in parts - halves}
    return collections | ({_POST} if len(halves) == 2 else halves)


def _is_in(part: str, has: set[str]) -> bool:
    if part in has:
        return True
    collection = _POST if part in ("post", "reply") else part
    families = tuple(family[:-1] for family in has if family.endswith(".*"))
    return collection in has or collection.startswith(families)
