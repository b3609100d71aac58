"""Tokens for the API: how they are made, found and taken back.

What may never break: what Kafka keeps of a token can't be used as one, and comparing takes the same time
however much of a guess is right.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime

from confluent_kafka import KafkaException

from messaging import clients
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.views import CompactedView
from schemas.errors import DeploymentError
from schemas.settings import KafkaSettings
from schemas.tokens import ApiToken, Role

PARTITIONS = 1
"""Of the topic."""
_FORM = re.compile(r"skf_([0-9a-f]{10})_[A-Za-z0-9_-]{43}")
_SEND_SECONDS = 30.0


def new_token(
    name: str, role: Role, now: datetime, expires_at: datetime | None = None
) -> tuple[str, ApiToken]:
    """A token's text, which nobody can tell ever again, and what the deployment keeps of it."""
    token_id = secrets.token_hex(5)
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    text = f"skf_{token_id}_{secret}"
    kept = ApiToken(
        id=token_id, name=name, role=role, hash=_hash(text), created_at=now, expires_at=expires_at
    )
    return text, kept


def token_id_of(text: str) -> str | None:
    """The id in a token's text; None for what has not the form of a token."""
    found = _FORM.fullmatch(text)
    return found[1] if found else None


def find_token(tokens: Mapping[str, ApiToken], text: str, now: datetime) -> ApiToken | None:
    """The token with this text, among `tokens` by id; None unless it is known and still good."""
    token = tokens.get(token_id_of(text) or "")
    # An unknown id is compared like a known one, so that the time tells nothing of which ids there are.
    same = hmac.compare_digest(_hash(text), token.hash if token else _hash(""))
    if token is None or not same or token.revoked_at is not None:
        return None
    return None if token.expires_at is not None and token.expires_at <= now else token


class TokenBook:
    """All tokens. Life: made, `refresh` now and then, `close`. For one thread."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Reads the topic to its end."""
        self._kafka = kafka
        self._topic = Names(kafka.topic_prefix).tokens
        self._view = CompactedView(kafka, self._topic, ApiToken.decode)
        self._view.catch_up()

    def refresh(self) -> None:
        """Takes in all that is written by now."""
        self._view.catch_up()

    def find(self, text: str, now: datetime) -> ApiToken | None:
        """The token with this text; None unless it is known, not revoked and not expired."""
        return find_token(self._view.items, text, now)

    def all(self) -> list[ApiToken]:
        """Every token, also those that are no good any more, the newest last."""
        return sorted(self._view.items.values(), key=lambda token: (token.created_at, token.id))

    def put(self, token: ApiToken) -> None:
        """Keeps a new token, or a known one that has changed. DeploymentError if the broker refuses."""
        refused: list[str] = []
        client = clients.producer(self._kafka)
        try:
            client.produce(
                self._topic,
                token.encode(),
                token.id.encode(),
                partition_for(token.id, PARTITIONS),
                on_delivery=lambda error, _: refused.append(error.str()) if error else None,
            )
            left = client.flush(_SEND_SECONDS)
        except KafkaException as error:
            raise DeploymentError(f"the token could not be kept: {error.args[0].str()}") from error
        if left or refused:
            why = refused[0] if refused else f"no answer within {_SEND_SECONDS:.0f} s"
            raise DeploymentError(f"the token could not be kept in {self._topic}: {why}")
        self.refresh()

    def close(self) -> None:
        """Leaves the topic."""
        self._view.close()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
