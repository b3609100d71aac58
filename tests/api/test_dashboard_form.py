"""The form and the document, each made from the other: what the form has no field for is never lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from api.dashboard.fields import SOURCES
from api.dashboard.form import document_of, field_of, fields_of, section_of, yaml_of
from schemas.document import load_document
from schemas.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
DOCUMENTS = [CONFIGS / "default.yaml", *sorted((CONFIGS / "examples").glob("*.yaml"))]

FILLED = {
    "name": ["my-accounts"],
    "source": ["inline"],
    "inline.dids": ["did:plc:a\nalice.example, did:plc:b"],
    "file.path": ["left over from another choice"],
    "record_types": ["post", "like"],
    "more_types": ["app.bsky.graph.*"],
    "start_date": ["2025-01-01"],
    "end_date": [""],
    "strategy": ["repo"],
    "skip_existing": ["since"],
    "requests_per_second": ["2.5"],
    "max_retries": ["3"],
    "storage": ["parquet", "dynamodb"],
    "parquet.path": ["out"],
    "dynamodb.table_name": ["rows"],
    "dynamodb.region": [""],
}


def test_a_filled_in_form_is_a_short_document() -> None:
    section = document_of(FILLED)
    assert section == {
        "name": "my-accounts",
        "source": {"type": "inline", "dids": ["did:plc:a", "alice.example", "did:plc:b"]},
        "record_types": ["post", "like", "app.bsky.graph.*"],
        "time_range": {"start_date": "2025-01-01"},
        "skip_existing": "since",
        "processing": {"requests_per_second": 2.5},
        "storage": [{"type": "parquet", "path": "out"}, {"type": "dynamodb", "table_name": "rows"}],
    }
    backfill = load_document(yaml_of(section))
    assert (backfill.name, backfill.skip_existing) == ("my-accounts", "since")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_document_passes_through_the_form_unchanged(path: Path) -> None:
    section = yaml.safe_load(path.read_text())["backfill"]
    again = document_of(fields_of(section), section)
    assert load_document(yaml_of(again)) == load_document(path)


def test_what_the_form_has_no_field_for_stays() -> None:
    base = {
        "source": {"type": "sqlite", "path": "a.db", "query": "SELECT 1"},
        "scope": {"deny": {"hosts": ["pds.example"]}},
        "time_range": {"start_date": "2025-01-01", "by": "rkey"},
        "storage": [{"type": "parquet", "path": "a"}, {"type": "parquet", "path": "b"}],
        "unknown": "for the API to refuse",
    }
    fields = fields_of(base) | {"start_date": [""], "parquet.path": ["c"]}
    assert document_of(fields, base) == base | {
        "time_range": {"by": "rkey"},
        "storage": [{"type": "parquet", "path": "c"}, {"type": "parquet", "path": "b"}],
    }


def test_another_source_takes_nothing_of_the_one_before() -> None:
    base = {"source": {"type": "sqlite", "path": "a.db", "query": "SELECT 1"}}
    fields = fields_of(base) | {"source": ["relay"], "relay.url": [""]}
    assert document_of(fields, base)["source"] == {"type": "relay"}


def test_each_mistake_that_the_reader_names_finds_its_field() -> None:
    wrong = {
        "name": ["not a name!"],
        "source": ["file"],
        "file.path": [""],
        "more_types": ["nonsense"],
        "start_date": ["2025-02-01"],
        "end_date": ["2025-01-01"],
        "requests_per_second": ["many"],
        "storage": ["dynamodb"],
        "dynamodb.table_name": ["?"],
    }
    section = document_of(wrong)
    with pytest.raises(ConfigError) as raised:
        load_document(yaml_of(section))
    keys = [line.split(": ")[1] for line in str(raised.value).splitlines()]
    found = {key: field_of(key, section) for key in keys}
    assert set(found.values()) == {
        "name",
        "file.path",
        "more_types",
        "start_date",
        "requests_per_second",
        "dynamodb.table_name",
    }, found


def test_every_source_can_be_chosen_and_nothing_else_breaks_it() -> None:
    for group in SOURCES:
        section = document_of({"source": [group.type], "storage": []})
        assert section["source"]["type"] == group.type
        assert fields_of(section)["source"] == [group.type]


@pytest.mark.parametrize(
    "text", ["", "[]", "a: b: c", "backfill: 1", "backfill:\n  day: 2025-01-45", "[" * 9999]
)
def test_text_that_is_no_document_is_left_to_the_api(text: str) -> None:
    assert section_of(text) is None


def test_a_document_of_odd_types_still_shows() -> None:
    fields = fields_of({"source": [1], "storage": "x", "time_range": 5, "record_types": None, "name": 7})
    assert fields["name"] == ["7"]
    assert document_of(fields, {"source": [1], "storage": "x"})["storage"] == []
