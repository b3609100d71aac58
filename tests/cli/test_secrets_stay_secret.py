"""A job's way from command to status with secrets in it: afterwards they are searched for everywhere."""

from __future__ import annotations

import http.server
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from messaging.topics import topics
from producers.run import run_planner
from schemas.outcomes import JobEvent, decode_outcome
from stream_workers.tracker.main import run_tracker
from tests.api.server import ApiServer, eventually, settings_for
from tests.cli.both_ways import Here
from tests.stream_workers.deployment import Reader

VALUES = {name: f"canary-{name.lower()}-5e8d" for name in ("AN_ID", "A_KEY", "A_TOKEN", "A_HOOK")}
LITERAL, QUERY = "canary-literal-77aa", "canary-query-31c0"


class Echoing(http.server.BaseHTTPRequestHandler):
    """An S3 server that refuses, and repeats in its words what it was sent."""

    def do_GET(self) -> None:
        said = self.headers["Authorization"] + self.headers["X-Amz-Security-Token"]
        self.server.asked.append(said)  # type: ignore[attr-defined]
        body = f"<Error><Code>Odd</Code><Message>{said}</Message></Error>".encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@contextmanager
def echoing() -> Iterator[tuple[str, list[str]]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echoing)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", server.asked  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server(kafka: str, tmp_path: Path) -> Iterator[ApiServer]:
    made = ApiServer(settings_for(kafka, tmp_path, secrets=["env:A_*", "env:AN_ID"]))
    yield made
    made.close()


class Lines(logging.Handler):
    """Every line that skyfill logs, whole."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Commands that were said take pytest's own handlers away."""
    handler, logger = Lines(), logging.getLogger("skyfill")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield handler.lines
    logger.setLevel(level)
    logger.removeHandler(handler)


def everything(server: ApiServer) -> dict[str, str]:
    """All that is in each topic."""
    found = {}
    for topic in topics(server.settings.kafka):
        reader = Reader(server.settings, topic.name)
        found[topic.name] = b"\n".join(m.value or b"" for m in reader.read()).decode()
        reader.close()
    return found


@pytest.mark.filterwarnings("ignore:.*unclosed.*:ResourceWarning")
def test_the_value_of_a_secret_is_nowhere(
    server: ApiServer,
    capsys: pytest.CaptureFixture[str],
    log: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value)
    here, operator, names = Here(server, capsys), server.client("operator"), server.board.names
    with echoing() as (endpoint, asked):
        section = document(endpoint)
        good, wrong = tmp_path / "good.yaml", tmp_path / "wrong.yaml"
        good.write_text(json.dumps({"backfill": section}))
        wrong.write_text(json.dumps({"backfill": literal(section)}))
        told = [here.say("kafka", "start", str(good), "--id", "referring")]
        assert told[0].code == 0
        told += [
            here.say(way, *words, str(wrong)) for way in ("kafka", "api") for words in (("start",), ("plan",))
        ]
        told += [here.say("kafka", "config", "check", str(wrong))]
        assert [one.code for one in told[1:]] == [1] * 5
        answers = [operator.post("/api/backfill/start", json={"backfill": literal(section)})]
        answers += [operator.put("/api/backfill/configs/kept", json={"backfill": section})]
        answers += [operator.put("/api/backfill/configs/bad", json={"backfill": literal(section)})]
        answers += [operator.get("/api/backfill/configs/kept", headers={"Accept": "application/yaml"})]
        assert [answer.status_code for answer in answers] == [422, 201, 422, 200]
        away = operator.post("/api/backfill/start?job_id=away", json={"backfill": sent_away(section)})
        assert away.status_code == 422
        assert "would be sent to `endpoint_url`" in away.json()["detail"]
        assert "${env:A_KEY}" in answers[3].text
        # Whoever talks to Kafka directly may say anything; from there it goes no further.
        server.board.write(names.jobs, "literal", json.dumps({"backfill": literal(section)}).encode())
        run_planner(server.settings, threading.Event(), until_planned=True)
        assert asked

    stop = threading.Event()
    tracker = threading.Thread(target=run_tracker, args=(server.settings, stop))
    tracker.start()
    viewer = server.client("viewer")
    for job_id in ("referring", "literal"):
        eventually(
            lambda job_id=job_id: viewer.get(f"/api/backfill/status/{job_id}").json()["status"] == "error"
        )
        answers += [
            viewer.get(f"/api/backfill/{path}") for path in (f"status/{job_id}", f"jobs/{job_id}/deadletters")
        ]
        told += [
            here.say("kafka", "status", job_id),
            here.say("kafka", "deadletter", "list", "--job", job_id),
        ]
    stop.set()
    tracker.join(30)
    letter = here.say("kafka", "deadletter", "list", "--job", "literal", "--json")
    told += [here.say("kafka", "deadletter", "show", json.loads(letter.out)["id"])]

    kept = everything(server)
    events = [decode_outcome(line.encode()) for line in kept[names.outcomes].splitlines()]
    failed = next(e for e in events if isinstance(e, JobEvent) and e.event == "source_failed")
    assert "Odd: AWS4-HMAC-SHA256" in (failed.detail or "")
    said = {topic: text for topic, text in kept.items() if topic != names.jobs}
    said["the log"] = "\n".join(log)
    assert "job literal: rejected" in said["the log"]
    said["the terminal"] = "\n".join(one.out + one.err for one in told)
    said["the answers"] = "\n".join(answer.text for answer in answers)
    said["the commands sent"] = "\n".join(
        line for line in kept[names.jobs].splitlines() if LITERAL not in line
    )
    for value in (*VALUES.values(), LITERAL):
        assert [place for place, text in said.items() if value in text] == [], value
    assert kept[names.jobs].count("\n") == 1, "what was refused is not sent at all"
    assert QUERY not in said["the log"] + said["the terminal"]


def document(endpoint: str) -> dict[str, Any]:
    return {
        "name": "secretive",
        "source": {
            "type": "s3",
            "path": "s3://bucket/list.txt",
            "endpoint_url": endpoint,
            "region": "eu-west-1",
            "access_key_id": "${env:AN_ID}",
            "secret_access_key": "${env:A_KEY}",
            "session_token": "${env:A_TOKEN}",
        },
        "storage": [{"type": "parquet", "path": "out"}],
        "monitoring": {
            "webhooks": [{"url": f"https://hooks.example/x?key={QUERY}", "secret": "${env:A_HOOK}"}]
        },
    }


def sent_away(section: dict[str, Any]) -> dict[str, Any]:
    """The same with a secret of this process, on its way to a server of the document's choice."""
    return section | {"source": section["source"] | {"access_key_id": "${env:AWS_SECRET_ACCESS_KEY}"}}


def literal(section: dict[str, Any]) -> dict[str, Any]:
    """The same with a secret written out, one that is misspelt, and one in the wrong shape."""
    storage = {
        "type": "dynamodb",
        "access_key_id": LITERAL,
        "secret_acces_key": LITERAL,
        "session_token": [LITERAL],
    }
    hooks = [
        {"url": "https://hooks.example/x", "secret": LITERAL},
        {"url": f"https://x:{LITERAL}@hooks.example"},
    ]
    return section | {"storage": [storage], "monitoring": {"webhooks": hooks}}
