"""Text of others, for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text of others for a terminal: what would move the cursor or colour it is shown as `�`."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def one_line(text: str, most: int) -> str:
    """The beginning of it, in one line of at most `most` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else line[: most - 1] + "…"
