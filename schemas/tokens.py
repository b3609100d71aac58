"""Topic `tokens`: who may use the API, by token id, compacted. No message ever holds what could be used."""

from __future__ import annotations

from typing import Literal

from schemas.message import Instant, Message

Role = Literal["viewer", "operator", "admin"]
"""A viewer reads; an operator also starts and turns jobs and writes configs; an admin also has tokens and the
audit log."""
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
"""Each may do what those before it may."""


class ApiToken(Message):
    """A token as the deployment knows it."""

    id: str
    name: str
    """What it is for, in its owner's words."""
    role: Role
    hash: str
    """SHA-256 of the token, in hex. It has 256 random bits, so a slow hash would protect nothing more."""
    created_at: Instant
    expires_at: Instant | None = None
    revoked_at: Instant | None = None
