"""The simplest message that a view can show."""

from __future__ import annotations

from schemas.message import Message


class Note(Message):
    text: str


def note(text: str) -> str:
    return Note(text=text).encode().decode()
