"""A broker that does not answer: everybody is told, nothing is half done, and all is well when it is back."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from local.kafka import EmbeddedKafka
from messaging import clients
from messaging.scan import scan
from schemas.jobs import JobMessage
from tests.api.server import ApiServer, document, eventually, settings_for
from tests.conftest import TEST_BROKER_SETTINGS


@pytest.mark.timeout(180)
def test_a_broker_that_is_stopped_and_goes_on(tmp_path: Path) -> None:
    broker = EmbeddedKafka(tmp_path / "kafka", overrides=TEST_BROKER_SETTINGS)
    servers = asyncio.run(broker.start())
    assert broker.process is not None
    pid = broker.process.pid
    assert pid is not None
    server = None
    try:
        server = ApiServer(settings_for(servers, tmp_path / "data"))
        operator = server.client("operator")
        assert operator.get("/readyz").status_code == 200
        os.kill(pid, signal.SIGSTOP)
        ready = operator.get("/readyz")
        assert (ready.status_code, ready.json()["type"]) == (503, "urn:skyfill:problem:not-ready")
        assert operator.get("/healthz").status_code == 200
        start = operator.post("/api/backfill/start?job_id=half-done", json=document())
        assert (start.status_code, start.headers["retry-after"]) == (503, "5")
        os.kill(pid, signal.SIGCONT)
        eventually(lambda: operator.get("/readyz").status_code == 200)
        # It may fall silent once more while it finds itself again.
        job = eventually(lambda: _told(operator.get("/api/backfill/status/half-done")))
        assert job.status_code == 404
        again = "/api/backfill/start?job_id=half-done"
        assert eventually(lambda: _told(operator.post(again, json=document()))).status_code == 202
        sent = [
            JobMessage.decode(message.value or b"")
            for message in scan(server.settings.kafka, server.board.names.jobs, 0, None)
        ]
        assert len(sent) == 1
        os.kill(pid, signal.SIGSTOP)  # also without a broker the server ends
    finally:
        if server is not None:
            server.close()
        os.kill(pid, signal.SIGCONT)
        asyncio.run(broker.stop())


def _told(answer: httpx.Response) -> httpx.Response | None:
    return None if answer.status_code == 503 else answer


def test_a_change_without_audit_is_not_made(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    server = ApiServer(settings_for(kafka, tmp_path_factory.mktemp("api")))
    try:
        _take_nothing(server)
        operator = server.client("operator")
        for method, path in (("POST", "start?job_id=unseen"), ("PUT", "configs/unseen")):
            refused = operator.request(method, f"/api/backfill/{path}", json=document())
            assert (refused.status_code, refused.json()["type"]) == (503, "urn:skyfill:problem:not-available")
        assert operator.get("/api/backfill/status/unseen").status_code == 404
        assert operator.get("/api/backfill/configs/unseen").status_code == 404
    finally:
        server.close()


def _take_nothing(server: ApiServer) -> None:
    """From now on the broker refuses every message for the audit."""
    entry = ConfigEntry("max.message.bytes", "1", incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, server.board.names.audit, incremental_configs=[entry])
    admin = clients.admin(server.settings.kafka)
    admin.incremental_alter_configs([topic])[topic].result(30)
