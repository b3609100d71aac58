"""One way to ask the API: its problem documents become the errors that commands tell in words.

What may never break: the token goes to the API's own address and nowhere else, and is in no error.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import httpx

from cli.backend import API_TOKEN
from schemas.errors import ConfigError, DeploymentError, SkyfillError
from schemas.secrets import mask

_SECONDS = 60.0
_TRIES = 3
_LONGEST_PAUSE = 30.0
_PAGE = 500
_MOST_MISTAKES = 20


class ApiClient:
    """Life: made, asked, `close`. For one thread."""

    def __init__(self, url: str, token: str | None) -> None:
        """ConfigError for what is no URL, or without a token."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ConfigError(f"{mask(url)!r} is no URL of an API; write --api https://skyfill.example.com")
        if not token:
            raise ConfigError(
                f"the API wants a token: set {API_TOKEN}, or give --token (`skyfill token create` makes one)"
            )
        try:
            headers = httpx.Headers(
                {"Authorization": f"Bearer {token}", "User-Agent": f"skyfill/{version('skyfill')}"}
            )
        except UnicodeEncodeError:
            raise ConfigError("this token is none: it has characters that no token has") from None
        self._url = url.rstrip("/")
        self._client = httpx.Client(base_url=self._url, headers=headers, timeout=_SECONDS)

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """What is answered to a request, from JSON; None for an empty answer.

        Too many requests are waited for, a little. ConfigError for what the user has to mend,
        DeploymentError where the API does not answer as it should.
        """
        for tries_left in reversed(range(_TRIES)):
            answer = self._send(method, path, more)
            if answer.status_code != 429 or not tries_left:
                break
            time.sleep(min(_LONGEST_PAUSE, _seconds(answer.headers.get("retry-after"))))
        if answer.is_success:
            return self._json(answer) if answer.content else None
        raise self._error(answer)

    def find(self, path: str, **more: Any) -> Any | None:
        """The same for GET; None where there is nothing of this name."""
        try:
            return self.ask("GET", path, **more)
        except NotFound:
            return None

    def pages(self, path: str, key: str, params: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Every entry of a list, page by page."""
        cursor: str | None = None
        while True:
            asked = {**(params or {}), "limit": _PAGE} | ({"cursor": cursor} if cursor else {})
            page = self.ask("GET", path, params=asked)
            yield from page[key]
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def unfit(self, error: Exception) -> DeploymentError:
        """An answer of another version's API."""
        return DeploymentError(
            f"the API at {self._url} answers in a form that this version does not know ({error}); use the "
            f"version of skyfill that it has"
        )

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _send(self, method: str, path: str, more: Mapping[str, Any]) -> httpx.Response:
        try:
            return self._client.request(method, path, **more)
        except httpx.TimeoutException as error:
            raise DeploymentError(f"the API at {self._url} did not answer in {_SECONDS:.0f} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise DeploymentError(
                f"no API answers at {self._url} ({mask(str(error))}); see that `skyfill api` runs there"
            ) from error

    def _json(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError as error:
            raise DeploymentError(
                f"{self._url} answers {answer.status_code} with what is no answer of the API; see to --api"
            ) from error

    def _error(self, answer: httpx.Response) -> SkyfillError:
        said: Any = None
        if "json" in answer.headers.get("content-type", ""):
            said = self._json(answer)
        if not isinstance(said, dict) or "detail" not in said:
            return DeploymentError(
                f"{self._url} answers {answer.status_code}, which is no answer of the API; see to --api"
            )
        detail = str(said["detail"])
        match answer.status_code:
            case 401:
                return ConfigError(f"the API does not take this token: {detail}")
            case 404:
                return NotFound(detail)
            case 429:
                return DeploymentError(f"the API is asked too often with this token: {detail}")
            case 422:
                return ConfigError(_mistakes(said.get("errors")) or detail)
            case status if status >= 500:
                return DeploymentError(f"the API can't do it now: {detail}")
        return ConfigError(detail)


class NotFound(ConfigError):
    """There is nothing of this name."""


def _mistakes(errors: Any) -> str:
    """One line each, as for a document that is read here."""
    lines = []
    for one in errors if isinstance(errors, list) else []:
        key = f"{one.get('key')}: " if one.get("key") else ""
        lines.append(f"{key}{one.get('message', '')}")
    more = [f"… and {len(lines) - _MOST_MISTAKES} more"] if len(lines) > _MOST_MISTAKES else []
    return "\n".join(lines[:_MOST_MISTAKES] + more)


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdecimal() else 1.0
