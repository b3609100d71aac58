"""The API as clients meet it: a real server on loopback, over a real broker."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvloop

from api.app import create_app
from api.limits import RequestLimits
from api.main import serve
from api.place import listening, url_of
from messaging import clients
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.token_book import new_token
from messaging.topics import create_topics, topics
from schemas.message import Message
from schemas.settings import (
    ApiSettings,
    KafkaSettings,
    MetricsSettings,
    NetworkSettings,
    Partitions,
    Settings,
)
from schemas.tokens import ApiToken, Role

PATIENCE = 60.0
PLENTY = 1_000_000
"""Requests a minute: tests of other things are not about limits."""


def settings_for(kafka: str, data: Path, *, prefix: str | None = None, **api: Any) -> Settings:
    """Settings with few partitions, any free port, and a folder for documents; the topics are there."""
    folder = data / "folder"
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        data_dir=data,
        kafka=KafkaSettings(
            bootstrap_servers=kafka,
            topic_prefix=prefix or f"t{secrets.token_hex(4)}.",
            partitions=Partitions(dids=2, records=1, outcomes=2, deadletter=2, repos=1),
        ),
        network=NetworkSettings(plc_url="http://127.0.0.1:1", relay_url="http://127.0.0.1:1"),
        metrics=MetricsSettings(port=None),
        api=ApiSettings.model_validate(
            {"port": 0, "folders": [folder], "requests_per_minute": PLENTY, **api}
        ),
    )
    create_topics(clients.admin(settings.kafka), settings.kafka)
    return settings


class Board:
    """What other processes write, written by the test."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.names = Names(kafka.topic_prefix)
        self._partitions = {topic.name: topic.partitions for topic in topics(kafka)}
        self._producer = clients.producer(kafka)

    def write(self, topic: str, key: str, message: Message | bytes | None, *, by: str | None = None) -> None:
        """One message, in the partition of `by`, or of its key. Returns once the broker has it."""
        value = message.encode() if isinstance(message, Message) else message
        partition = partition_for(by or key, self._partitions[topic])
        self._producer.produce(topic, value, key.encode(), partition)
        assert self._producer.flush(30) == 0

    def token(self, role: Role, *, now: datetime | None = None, **changes: Any) -> tuple[str, ApiToken]:
        """A token that the deployment knows: its text, and what is kept of it."""
        text, token = new_token(
            f"test {role}", role, now or datetime.now(UTC), changes.pop("expires_at", None)
        )
        token = token.model_copy(update=changes)
        self.write(self.names.tokens, token.id, token)
        return text, token


class ApiServer:
    """A server in a thread with an event loop of its own. Life: made, `close`."""

    def __init__(
        self, settings: Settings, *, limits: RequestLimits | None = None, plan_seconds: float = 2.0
    ) -> None:
        self.settings = settings
        self.board = Board(settings.kafka)
        self._stop = threading.Event()
        place = listening(settings.api)
        self.url = url_of(place)
        self.error: BaseException | None = None
        app = create_app(settings, limits=limits, plan_seconds=plan_seconds)
        self.app = app

        def run() -> None:
            try:
                uvloop.run(serve(app, settings, place, self._stop))
            except BaseException as error:
                self.error = error

        self._thread = threading.Thread(target=run, name="api")
        self._thread.start()
        self._clients: list[httpx.Client] = []
        self.tokens: dict[Role, str] = {
            role: self.board.token(role)[0] for role in ("viewer", "operator", "admin")
        }
        eventually(self._answers)

    def client(self, role: Role | None, **headers: str) -> httpx.Client:
        """A client with a token of this role, or with none."""
        own = {} if role is None else {"Authorization": f"Bearer {self.tokens[role]}"}
        made = httpx.Client(base_url=self.url, headers=own | headers, timeout=30)
        self._clients.append(made)
        return made

    def close(self) -> None:
        """A clean end, as after SIGTERM."""
        for client in self._clients:
            client.close()
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    def _answers(self) -> bool:
        if self.error is not None:
            raise self.error
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def eventually(true: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What `true` returns as soon as that is true."""
    deadline = time.monotonic() + patience
    while not (found := true()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def document(name: str = "example", **more: Any) -> dict[str, Any]:
    """A document that the API takes."""
    return {
        "backfill": {
            "name": name,
            "source": {"type": "inline", "dids": ["did:plc:z72i7hdynmk6r22z27h6tvur"]},
            "storage": [{"type": "parquet", "path": "out"}],
            **more,
        }
    }


def details(answers: Iterable[httpx.Response]) -> list[str]:
    """What problems say."""
    return [answer.json()["detail"] for answer in answers]
