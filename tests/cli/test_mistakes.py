"""Whatever is wrong is told in words that say what to do, with exit code 1 and never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.folder_lock import folder_lock
from tests.cli.command import Ended, Skyfill, environment

NOBODY = "127.0.0.1:9"
ACCOUNTS = {"source": {"type": "inline", "dids": ["did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"]}}


def assert_refused(ended: Ended, *words: str) -> None:
    assert ended.code == 1, ended
    assert ended.out == ""
    assert "error: " in ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "a.yaml", "--workers", "0"], ["--workers", "See `skyfill run --help`"]),
        (["jobs"], ["no broker", "SKYFILL_KAFKA__BOOTSTRAP_SERVERS", "skyfill up", "--data"]),
        (["run", "nowhere.yaml"], ["nowhere.yaml", "No such file"]),
        (["get", "did:plc:a", "--types", "pots", "--out", "o"], ["record_types", "did you mean `post`?"]),
        (["tables", "create"], ["no table is named", "--config"]),
        (["deadletter", "replay"], ["name letters", "skyfill deadletter list", "options"]),
        (["deadletter", "show", "first"], ["'first' is no dead letter's id", "2:1041"]),
        (["network", "--ready", "no/where.json"], ["no is no folder"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_wrong_arguments(bare: Skyfill, arguments: list[str], words: list[str]) -> None:
    assert_refused(bare.run(*arguments), *words)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("LOG_LEVEL", "loud", ["log_level", "SKYFILL_LOG_LEVEL", "'loud'"]),
        ("KAFKA_BOOTSTRAP_SERVERS", NOBODY, ["did you mean SKYFILL_KAFKA__BOOTSTRAP_SERVERS?"]),
        ("KAFKA", "broker:9092", ["kafka", "has to be JSON"]),
        ("SETTINGS_FILE", "nowhere.yaml", ["nowhere.yaml does not exist"]),
    ],
)
def test_wrong_settings_in_the_environment(
    tmp_path: Path, setting: str, value: str, words: list[str]
) -> None:
    assert_refused(Skyfill(tmp_path, environment(**{setting: value})).run("jobs"), *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kafka: {topic_prefxi: x}", ["kafka.topic_prefxi", "no such setting"]),
        ("[1, 2]", ["settings.yaml", "YAML mapping"]),
        ("{{", ["settings.yaml", "YAML mapping"]),
    ],
)
def test_wrong_settings_in_the_file(bare: Skyfill, text: str, words: list[str]) -> None:
    (bare.folder / "settings.yaml").write_text(text)
    assert_refused(bare.run("--settings", "settings.yaml", "jobs"), *words)


def test_a_broker_that_nobody_answers_at(tmp_path: Path) -> None:
    skyfill = Skyfill(tmp_path, environment(KAFKA__BOOTSTRAP_SERVERS=NOBODY))
    document = skyfill.document("a", **ACCOUNTS, storage={"type": "parquet", "path": "out"})
    commands = [("run", document), ("jobs",), ("start", document), ("up", "--aws", "--data", "up")]
    started = [skyfill.start(*command) for command in commands]
    for one in started:
        assert_refused(one.wait(40), f"no Kafka broker answers at {NOBODY}", "Connection refused")


def test_a_document_with_mistakes_is_refused_by_check_and_run_alike(bare: Skyfill) -> None:
    document = bare.document("a", **ACCOUNTS, stroage={"type": "parquet"})
    for command in ("check",), ("run",):
        words = ("a.yaml:", "backfill.stroage: unknown key; did you mean `storage`?", "storage: is missing")
        arguments = ["config", "check"] if command == ("check",) else ["run"]
        assert_refused(bare.run(*arguments, document), *words)


def test_check_and_schema(bare: Skyfill) -> None:
    document = bare.document("a", **ACCOUNTS, storage={"type": "parquet", "path": "out"})
    checked = bare.run("config", "check", document)
    assert (checked.code, checked.out, checked.err) == (0, f"{document}: fine. a: inline to parquet\n", "")
    schema = bare.run("config", "schema")
    expected = Path(__file__).parents[2] / "schemas" / "json" / "document.json"
    assert (schema.code, schema.out, schema.err) == (0, expected.read_text("utf-8"), "")


async def test_a_data_folder_that_another_run_uses(bare: Skyfill) -> None:
    document = bare.document("a", **ACCOUNTS, storage={"type": "parquet", "path": "out"})
    async with folder_lock(bare.folder / "data"):
        ended = bare.run("run", document, "--data", "data")
    assert_refused(ended, "another skyfill runs with the data folder", "--data")


def test_folders_that_cannot_be_written_to(bare: Skyfill) -> None:
    (bare.folder / "file").write_text("in the way")
    elsewhere = bare.document("a", **ACCOUNTS, storage={"type": "parquet", "path": "file/out"})
    here = bare.document("b", **ACCOUNTS, storage={"type": "parquet", "path": "out"})
    assert_refused(bare.run("run", elsewhere), "output folder", "file/out can't be written to")
    assert_refused(bare.run("run", here, "--data", "file/data"), "data folder", "can't be written to")
    assert_refused(bare.run("run", here, "--json", "none/a.json"), "none is no folder", "--json")


def test_a_demo_spares_a_folder_that_is_not_its_own(bare: Skyfill) -> None:
    (bare.folder / "mine").mkdir()
    (bare.folder / "mine" / "thesis.txt").write_text("three years of work")
    assert_refused(bare.run("demo", "--out", "mine"), "other things than a demo's", "--out")
    assert (bare.folder / "mine" / "thesis.txt").exists()


def test_run_takes_no_schedule(bare: Skyfill) -> None:
    storage = {"type": "parquet", "path": "out"}
    document = bare.document("a", **ACCOUNTS, storage=storage, schedule={"cron": "0 3 * * *"})
    assert_refused(bare.run("run", document), "`schedule`", "`skyfill start`")
    assert not (bare.folder / "out").exists()
