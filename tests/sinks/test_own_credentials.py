"""A table that a document names credentials for: they are used, and tell it from another account's table."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from schemas.backfill import Backfill, DynamoDBStorage
from schemas.errors import SinkError
from schemas.settings import DynamoDBSettings, SinkSettings
from sinks import tables
from sinks.dynamodb import DynamoDBSink
from sinks.rows import Row
from sinks.tenure import Tenure
from tests.sinks.deployment import CID, REV

ROW = Row("did:plc:a", "a.b.c", "k", CID, REV, "create", None, "{}", "commit", "j", 5, 0, 7, 9)


def test_a_store_may_have_credentials_of_its_own(
    dynamodb: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str | None, str]] = []

    def connect(settings: DynamoDBSettings, region: str | None, store: DynamoDBStorage) -> Any:
        made = tables.connect(settings, region, store)
        seen.append((region, made._request_signer._credentials.access_key))  # type: ignore[attr-defined]
        return made

    references = {"access_key_id": "${env:OWN_ID}", "secret_access_key": "${env:OWN_KEY}"}
    stores = [{"type": "dynamodb", "table_name": f"{prefix}own"}]
    stores += [stores[0] | references, stores[0] | references | {"region": "eu-west-1"}]
    source = {"type": "inline", "dids": ["did:plc:a"]}
    backfill = Backfill.model_validate({"source": source, "storage": stores})
    settings, tenure = DynamoDBSettings(endpoint_url=dynamodb), Tenure(60)
    tables.create_table(tables.connect(settings), f"{prefix}own")
    sink = DynamoDBSink(SinkSettings(), settings, "0" * 32, tenure, threading.Event(), connect=connect)
    tenure.begin()
    plain, own = sink.destinations(backfill)
    assert plain == f"/{prefix}own"
    assert own.startswith(f"{plain}#")
    for destination in (plain, own):
        sink.add(destination, ROW)
    with pytest.raises(SinkError, match="the environment variable OWN_ID is not set"):
        sink.flush([ROW.partition])
    monkeypatch.setenv("OWN_ID", "canaryid")
    monkeypatch.setenv("OWN_KEY", "canarykey")
    sink.flush([ROW.partition])
    assert [key for _, key in seen][-1] == "canaryid"
    assert tables.connect(settings).scan(TableName=f"{prefix}own")["Count"] == 1
    assert "canary" not in own
    tenure.finish()
    sink.close()
