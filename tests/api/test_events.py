"""A job that is followed as it goes on."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import httpx
import pytest

from api.streams import OF_ONE_TOKEN
from schemas.job_status import HistoryEntry
from tests.api.jobs import BEGAN, publish, status
from tests.api.server import ApiServer, eventually, settings_for


class Event(NamedTuple):
    kind: str
    id: str
    data: Any


def events(lines: Iterator[str]) -> Iterator[Event]:
    """What a browser would make of them."""
    said: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            said[name] = value
        elif said:
            yield Event(said["event"], said.get("id", ""), json.loads(said["data"]))
            said = {}


@contextmanager
def follow(server: ApiServer, job_id: str, **headers: str) -> Iterator[Iterator[Event]]:
    address = f"{server.url}/api/backfill/jobs/{job_id}/events"
    headers["Authorization"] = f"Bearer {server.tokens['viewer']}"
    with httpx.stream("GET", address, headers=headers, timeout=30) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer.iter_lines())


def entry(number: int, event: str) -> HistoryEntry:
    return HistoryEntry(at=BEGAN + timedelta(minutes=number), event=event)


def test_a_job_is_followed_from_now_to_its_end(server: ApiServer) -> None:
    history = [entry(0, "submitted")]
    publish(server, status("followed", history=history))
    with follow(server, "followed") as found:
        assert (next(found).data["event"], (first := next(found)).kind) == ("submitted", "status")
        assert first.data["progress"]["completed"] == 2
        history += [entry(1, "paused"), entry(1, "noted")]
        publish(server, status("followed", status="paused", history=history))
        three = [next(found) for _ in range(3)]
        assert [one.kind for one in three] == ["entry", "entry", "status"]
        assert three[-1].data["status"] == "paused"
        seen = three[-1].id
        history.append(entry(2, "ended"))
        publish(server, status("followed", status="complete", history=history))
        rest = list(found)
    assert [one.kind for one in rest] == ["entry", "status", "end"]
    assert rest[0].data["event"] == "ended"
    # Who comes again is told what he has not seen, and how it stands.
    with follow(server, "followed", **{"Last-Event-ID": seen}) as found:
        assert [(one.kind, one.data.get("event")) for one in found] == [
            ("entry", "ended"),
            ("status", None),
            ("end", None),
        ]
    for nonsense in ("x", "/", "1/x", "9" * 100 + "/1"):
        with follow(server, "followed", **{"Last-Event-ID": nonsense}) as found:
            assert [one.kind for one in found][-2:] == ["status", "end"]


def test_streams_of_a_token_are_bounded_and_given_back(server: ApiServer) -> None:
    publish(server, status("crowded"))
    client = server.client("operator")
    address = "/api/backfill/jobs/crowded/events"
    opened = [client.stream("GET", address) for _ in range(OF_ONE_TOKEN)]
    client._transport._pool._max_connections = 100  # type: ignore[attr-defined]
    answers = [one.__enter__() for one in opened]
    assert {answer.status_code for answer in answers} == {200}
    refused = client.get(address)
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:skyfill:problem:too-many-streams")
    for one in opened:
        one.__exit__(None, None, None)
    services = server.app.state.services
    eventually(lambda: services.streams.count == 0)
    with client.stream("GET", address) as again:
        assert again.status_code == 200


def test_a_stream_of_a_revoked_token_ends(server: ApiServer) -> None:
    publish(server, status("watched"))
    text, token = server.board.token("viewer")
    headers = {"Authorization": f"Bearer {text}"}
    with httpx.stream("GET", f"{server.url}/api/backfill/jobs/watched/events", headers=headers) as answer:
        lines = answer.iter_lines()
        next(lines)
        revoked = token.model_copy(update={"revoked_at": BEGAN})
        server.board.write(server.board.names.tokens, token.id, revoked)
        for _ in lines:
            pass
    assert httpx.get(f"{server.url}/api/backfill/jobs", headers=headers).status_code == 401


def test_the_end_of_the_process_ends_streams_at_once(
    kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = ApiServer(settings_for(kafka, tmp_path_factory.mktemp("api")))
    publish(own, status("open"))
    address = httpx.URL(own.url)
    # One who reads, and one who has long stopped to.
    silent = socket.create_connection((address.host, address.port or 80))
    silent.sendall(
        f"GET /api/backfill/jobs/open/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        f"{own.tokens['viewer']}\r\n\r\n".encode()
    )
    services = own.app.state.services
    eventually(lambda: services.streams.count == 1)
    with follow(own, "open") as found:
        assert next(found).kind == "entry"
        closing = threading.Thread(target=own.close)
        closing.start()
        assert [one.kind for one in found] == ["status"]
        closing.join(20)
        assert not closing.is_alive()
    silent.close()
