"""The id that a document's job gets: the same for the same content, whatever keys documents learn later."""

from __future__ import annotations

from typing import Any

import pytest

from local.one_shot import job_id_of
from schemas.document import parse_document

PLAIN: dict[str, Any] = {
    "name": "old",
    "source": {"type": "s3", "path": "s3://bucket/x"},
    "storage": [{"type": "dynamodb"}, {"type": "parquet", "path": "/out"}],
}
HOOK = {"url": "https://hooks.example/x", "secret": "${env:HOOK}"}
KEYS = {"access_key_id": "${env:A}", "secret_access_key": "${env:B}"}


def test_a_document_without_the_later_keys_keeps_the_id_of_its_job() -> None:
    """As versions before `schedule`, `webhooks` and credentials made it: an unfinished run is found again."""
    assert job_id_of(parse_document(PLAIN)) == "old-055ef794bc"


@pytest.mark.parametrize(
    "changes",
    [
        {"monitoring": {"webhooks": [HOOK]}},
        {"source": {"type": "s3", "path": "s3://bucket/x", **KEYS}},
        {"storage": [{"type": "dynamodb", **KEYS}, {"type": "parquet", "path": "/out"}]},
        {"schedule": {"cron": "0 3 * * *"}},
    ],
)
def test_with_them_it_is_another_job(changes: dict[str, Any]) -> None:
    assert job_id_of(parse_document(PLAIN | changes)) != "old-055ef794bc"
