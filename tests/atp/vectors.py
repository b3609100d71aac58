"""The protocol's public test vectors, which lie in tests/interop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

INTEROP = Path(__file__).parent.parent / "interop"


def lines(name: str) -> list[str]:
    """The cases of a syntax file: its lines without comments. Spaces around a case are part of it."""
    text = (INTEROP / "syntax" / name).read_text()
    found = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
    assert found, name
    return found


def cases(name: str) -> list[dict[str, Any]]:
    """The cases of a JSON file."""
    found: list[dict[str, Any]] = json.loads((INTEROP / name).read_text())
    assert found, name
    return found
