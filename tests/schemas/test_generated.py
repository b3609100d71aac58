"""Generated files agree with the code, and the schemas with the models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from messaging.topics import topics
from schemas.backfill import Backfill
from schemas.document import load_document
from schemas.export import TOPIC_MODELS, config_reference, json_schemas
from schemas.settings import KafkaSettings, Settings

ROOT = Path(__file__).parents[2]


def test_nothing_generated_is_stale() -> None:
    command = [sys.executable, "-m", "docs.generate", "--check"]
    check = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")


def test_the_default_document_holds_the_defaults() -> None:
    shown = load_document(ROOT / "configs" / "default.yaml")
    needed = Backfill.model_validate({"source": shown.source, "storage": shown.storage})
    assert shown.model_copy(update={"time_range": None}) == needed


def test_the_default_document_shows_every_key() -> None:
    text = (ROOT / "configs" / "default.yaml").read_text("utf-8")
    bare = yaml.safe_load(text)["backfill"]
    assert list(bare) == [name for name in Backfill.model_fields if name != "schedule"]
    assert "\n  # schedule:\n" in text  # a document with one would be another kind of thing
    for section in ("processing", "monitoring", "time_range"):
        annotation = Backfill.model_validate(bare)
        assert list(bare[section]) == list(type(getattr(annotation, section)).model_fields)


SOURCES = ["collection", "file", "handles", "hosts", "job", "relay", "s3", "sqlite"]


@pytest.mark.parametrize("kind", SOURCES)
def test_the_types_that_are_commented_out_work_when_the_mark_is_taken_away(kind: str) -> None:
    lines = (ROOT / "configs" / "default.yaml").read_text("utf-8").splitlines()
    begin = lines.index(f"    # type: {kind}")
    end = next(at for at in range(begin + 1, len(lines)) if lines[at][:11] in ("    # type:", ""))
    source = [line.replace("# ", "", 1) for line in lines[begin:end] if "##" not in line]
    document = ["backfill:", "  source:", *source, "  storage: {type: parquet, path: x}"]
    assert load_document("\n".join(document)).source.type == kind


def test_every_topic_has_a_model() -> None:
    assert {topic.name for topic in topics(KafkaSettings(topic_prefix=""))} == set(TOPIC_MODELS)


def test_every_schema_is_an_object_or_a_choice_of_objects() -> None:
    for name, text in json_schemas().items():
        schema = json.loads(text)
        assert schema.get("type") == "object" or "anyOf" in schema or "oneOf" in schema, name


def test_the_reference_names_every_setting_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    text = config_reference()
    monkeypatch.setenv("SKYFILL_KAFKA__PARTITIONS__DIDS", "3")
    assert Settings().kafka.partitions.dids == 3
    assert "`SKYFILL_KAFKA__PARTITIONS__DIDS`" in text
    assert "`SKYFILL_LOG_FORMAT`" in text
