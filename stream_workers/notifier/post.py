"""One attempt to tell a receiver, in the form that Standard Webhooks describe, and what follows from it.

What may never break: an attempt ends within its time, goes nowhere but where it was sent to, and what is kept
of its failure holds no secret.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from atp.http import Http
from schemas.errors import (
    AddressForbidden,
    ConfigError,
    HostTimeout,
    HostUnknown,
    NotAtproto,
    TlsInvalid,
    XrpcError,
)
from schemas.webhooks import Delivery
from stream_workers.notifier.notices import Target

PATIENCE = timedelta(days=1)
"""From the first attempt to the last."""
_SECONDS = 15.0
_FIRST_PAUSE = 5.0
_FACTOR = 4.0
_LONGEST_PAUSE = 3600.0
_LONGEST_WISH = 6 * 3600.0
_FEW = 5
"""Attempts where the receiver says, or this machine, that it is not to be."""
_PASSING = frozenset({408, 425, 429})

Ending = Literal["delivered", "gone", "refused", "failed"]


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended. `refused`: a few more may be worth it; `failed`: as many as a day holds."""

    ending: Ending
    detail: str | None = None
    wish: float | None = None
    """Seconds that the receiver wants to be left alone."""


class Post:
    """Life: made, `attempt` as often as wanted. The client is the caller's to close."""

    def __init__(self, http: Http, *, now: Callable[[], datetime], seconds: float = _SECONDS) -> None:
        """`seconds`: from first to last byte of one attempt."""
        self._http, self._now, self._seconds = http, now, seconds

    async def attempt(self, delivery: Delivery, target: Target) -> Attempt:
        """Posts the notice once."""
        body = body_of(delivery)
        try:
            headers = self._headers(delivery, target, body)
        except ConfigError as error:
            return Attempt("failed", f"it can't be signed: {error}")
        except (EmptyWebhookSecretError, binascii.Error, ValueError):
            return Attempt("failed", "it can't be signed: its secret is not `whsec_` and base64")
        try:
            status, answered = await self._http.post(
                target.url, body, headers, total=self._seconds, trusted=target.trusted
            )
        except AddressForbidden:
            return Attempt(
                "refused",
                "it leads to an address that is not public, or is not https; only with "
                "`network.allow_private_hosts` notices go there",
            )
        except XrpcError as error:
            return Attempt("failed", _why(error))
        return _judged(status, answered, self._now())

    def _headers(self, delivery: Delivery, target: Target, body: bytes) -> dict[str, str]:
        now = self._now().astimezone(UTC).replace(microsecond=0)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if target.secret is not None:
            headers["webhook-signature"] = Webhook(target.secret()).sign(delivery.id, now, body.decode())
        return headers


def body_of(delivery: Delivery) -> bytes:
    """The notice as it is sent: the same bytes at each attempt."""
    said = {
        "type": f"job.{delivery.event}",
        "timestamp": delivery.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": delivery.data.model_dump(mode="json", exclude_none=True),
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def after(delivery: Delivery, attempt: Attempt, now: datetime, chance: float) -> Delivery:
    """The delivery as it stands after an attempt. `chance`, from 0 to 1, spreads the next ones."""
    attempts, first_at = delivery.attempts + 1, delivery.first_at or now
    changes: dict[str, object] = {"attempts": attempts, "first_at": first_at, "updated_at": now}
    if attempt.ending == "delivered":
        changes |= {"delivered_at": now, "next_at": None, "detail": None}
    elif attempt.ending == "gone" or (attempt.ending == "refused" and attempts >= _FEW):
        changes |= {"next_at": None, "detail": attempt.detail}
    else:
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * _FACTOR ** min(attempts - 1, 10)) * (0.75 + chance / 2)
        pause = max(pause, min(attempt.wish or 0.0, _LONGEST_WISH))
        next_at = now + timedelta(seconds=pause)
        changes |= {"next_at": next_at if next_at <= first_at + PATIENCE else None, "detail": attempt.detail}
    return delivery.model_copy(update=changes)


def _judged(status: int, headers: Mapping[str, str], now: datetime) -> Attempt:
    if 200 <= status < 300:
        return Attempt("delivered")
    if status == 410:
        return Attempt("gone", "it answered 410: it wants no more notices")
    detail = f"it answered {status}"
    if 300 <= status < 400:
        return Attempt("refused", f"{detail}: redirects are not followed; name the address that it leads to")
    if 400 <= status < 500 and status not in _PASSING:
        return Attempt("refused", detail)
    return Attempt("failed", detail, _wish(headers.get("Retry-After"), now))


def _wish(text: str | None, now: datetime) -> float | None:
    """Retry-After: seconds, or a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _why(error: XrpcError) -> str:
    """Not in the error's own words: they repeat the URL with its query."""
    if isinstance(error, HostTimeout):
        return "it did not answer in time" if error.connected else "it took no connection in time"
    if isinstance(error, HostUnknown):
        return "there is no host of this name"
    if isinstance(error, TlsInvalid):
        return "its certificate does not prove that it is this host"
    return "it answers, but not in HTTP" if isinstance(error, NotAtproto) else "no connection came about"
