"""What a document may name, and what overrides do to one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.body import Body
from api.documents import DocumentRefused, confined, folders_of, merged, read_document, read_start
from api.problems import Problem
from schemas.backfill import Backfill
from schemas.configs import StoredConfig
from tests.api.server import document

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def backfill(**more: Any) -> Backfill:
    return Backfill.model_validate(document(**more)["backfill"])


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for name in ("jobs", "out", "secret"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret" / "list.txt").write_text("did:plc:z72i7hdynmk6r22z27h6tvur\n")
    return folders_of([tmp_path / "jobs", tmp_path / "out"])


def test_relative_paths_are_taken_from_the_first_folder(folders: list[Path]) -> None:
    found = confined(backfill(source={"type": "file", "path": "lists/../accounts.txt"}), folders)
    assert found.source.path == str(folders[0] / "accounts.txt")  # type: ignore[union-attr]
    assert [one.path for one in found.storage] == [str(folders[0] / "out")]  # type: ignore[union-attr]


def test_every_folder_counts_and_so_does_the_folder_itself(folders: list[Path]) -> None:
    storage = [{"type": "parquet", "path": str(folder)} for folder in folders]
    assert [one.path for one in confined(backfill(storage=storage), folders).storage] == [  # type: ignore[union-attr]
        str(folder) for folder in folders
    ]


@pytest.mark.parametrize(
    "path",
    [
        "../secret/list.txt",
        "a/b/../../../secret/list.txt",
        "/etc/passwd",
        "~/accounts.txt",
        "link/list.txt",
        "link-to-file",
        "../jobs-of-others/list.txt",
        "../out/../secret/list.txt",
        "~nobody-of-this-name/x",
    ],
)
def test_no_path_leads_out_of_the_folders(folders: list[Path], path: str) -> None:
    secret = folders[0].parent / "secret"
    (folders[0] / "link").symlink_to(secret)
    (folders[0] / "link-to-file").symlink_to(secret / "list.txt")
    for more in (
        {"source": {"type": "file", "path": path}},
        {"source": {"type": "sqlite", "path": path}},
        {"storage": [{"type": "parquet", "path": path}]},
    ):
        with pytest.raises(DocumentRefused) as refused:
            confined(backfill(**more), folders)
        [mistake] = refused.value.mistakes
        assert mistake.key in ("backfill.source.path", "backfill.storage[0].path")
        assert str(secret) not in mistake.message


def test_a_link_within_the_folders_is_followed_once_and_for_all(folders: list[Path]) -> None:
    (folders[0] / "there").symlink_to(folders[1])
    found = confined(backfill(storage=[{"type": "parquet", "path": "there/x"}]), folders)
    assert [one.path for one in found.storage] == [str(folders[1] / "x")]  # type: ignore[union-attr]


def test_what_is_no_path_of_this_machine_is_left_alone(folders: list[Path]) -> None:
    source = {"type": "s3", "path": "s3://bucket/../../etc"}
    assert confined(backfill(source=source), folders).source.path == source["path"]  # type: ignore[union-attr]


S3 = {"type": "s3", "path": "s3://bucket/x.txt", "endpoint_url": "https://elsewhere.example"}
KEYS = {"access_key_id": "${env:BACKFILL_ID}", "secret_access_key": "${file:/run/secrets/s3}"}


@pytest.mark.parametrize(
    ("source", "secrets", "refused"),
    [
        (S3, [], ["endpoint_url"]),
        (S3, ["*"], ["endpoint_url"]),  # what only this machine can reach needs no credentials
        (S3 | KEYS, [], ["access_key_id", "secret_access_key"]),
        (S3 | KEYS, ["env:BACKFILL_*"], ["secret_access_key"]),
        (S3 | KEYS, ["env:BACKFILL_*", "file:/run/secrets/*"], []),
        (S3 | KEYS | {"session_token": "${env:HOME}"}, ["env:BACKFILL_*", "file:/run/*"], ["session_token"]),
        (S3 | {"endpoint_url": "https://own.example"}, [], []),
        (S3 | KEYS | {"endpoint_url": "https://own.example"}, [], []),
        (S3 | KEYS | {"endpoint_url": None}, [], []),
    ],
)
def test_nothing_is_asked_of_or_sent_to_an_endpoint_of_the_documents_choice(
    folders: list[Path], source: dict[str, Any], secrets: list[str], refused: list[str]
) -> None:
    try:
        confined(backfill(source=source), folders, endpoint_url="https://own.example", secrets=secrets)
        keys = []
    except DocumentRefused as error:
        keys = [one.key for one in error.mistakes]
    assert keys == [f"backfill.source.{key}" for key in refused]


def test_without_folders_it_is_where_the_process_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert folders_of(None) == [tmp_path.resolve()]


def test_overrides_go_into_mappings_and_take_the_place_of_all_else() -> None:
    stored = {
        "source": {"type": "inline", "dids": ["a", "b"]},
        "processing": {"max_retries": 3, "strategy": "repo"},
        "record_types": ["post", "like"],
    }
    assert merged(stored, {"processing": {"max_retries": 0}, "record_types": ["follow"]}) == {
        "source": {"type": "inline", "dids": ["a", "b"]},
        "processing": {"max_retries": 0, "strategy": "repo"},
        "record_types": ["follow"],
    }
    # Nothing of an inline source is left beside a file's path.
    assert merged(stored, {"source": {"type": "file", "path": "x.txt"}})["source"] == {
        "type": "file",
        "path": "x.txt",
    }
    assert merged(stored, {"source": {"dids": ["c"]}})["source"] == {"type": "inline", "dids": ["c"]}


def read(text: str, form: Any = "yaml") -> Backfill:
    return asyncio.run(read_document(Body(text, form), asyncio.Semaphore(1)))


def start(text: str, form: Any = "yaml", **configs: StoredConfig) -> Backfill:
    return asyncio.run(read_start(Body(text, form), configs, asyncio.Semaphore(1)))


def test_each_mistake_of_a_text_has_its_line_and_key() -> None:
    text = (
        "backfill:\n  source: {type: inline, dids: [a.example.com]}\n  storge: []\n  processing:\n"
        "    max_retries: many\n"
    )
    with pytest.raises(DocumentRefused) as refused:
        read(text)
    places = {(one.line, one.key) for one in refused.value.mistakes}
    assert {(3, "backfill.storge"), (5, "backfill.processing.max_retries")} <= places
    problem = refused.value.problem
    assert (problem.status, len(problem.errors)) == (422, len(refused.value.mistakes))
    assert "more, see `errors`" in problem.detail


def test_json_is_read_as_json() -> None:
    text = '{"backfill": {"name": "tab\\ttab", "source": {"type": "inline", "dids": []}}}'
    with pytest.raises(DocumentRefused) as refused:
        read(text, "json")
    assert {one.key for one in refused.value.mistakes} >= {"backfill.name", "backfill.source.dids"}
    assert {one.line for one in refused.value.mistakes} == {None}
    with pytest.raises(Problem, match="not JSON"):
        read("backfill: {}", "json")


@pytest.mark.parametrize("text", ["", "[]", "backfill:", "&a [*a]", "{{", "\x00", "!!python/name:os.x"])
def test_what_is_no_document_is_refused_in_words(text: str) -> None:
    with pytest.raises(DocumentRefused) as refused:
        start(text)
    assert refused.value.mistakes[0].message


def test_aliases_that_would_grow_without_end_are_mistakes_like_others() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    text = "\n".join([*lines, "backfill:", "  source: {type: inline, dids: *a11}"])
    with pytest.raises(DocumentRefused) as refused:
        start(text)
    assert len(refused.value.problem.detail) < 2000


def test_a_stored_config_is_started_with_what_is_to_be_different() -> None:
    config = StoredConfig(name="nightly", backfill=backfill(), updated_at=NOW, updated_by="0123456789")
    found = start('{"config": "nightly", "overrides": {"name": "tonight"}}', "json", nightly=config)
    assert (found.name, found.source) == ("tonight", config.backfill.source)
    assert start("config: nightly", nightly=config) == config.backfill
    with pytest.raises(Problem, match="no config 'weekly'"):
        start("config: weekly", nightly=config)
    for wrong in ("config: 3", "config: nightly\noverrides: [1]", "config: nightly\noverride: {}"):
        with pytest.raises(DocumentRefused):
            start(wrong, nightly=config)
    with pytest.raises(DocumentRefused) as refused:
        start("config: nightly\noverrides: {storge: 1}", nightly=config)
    assert [one.key for one in refused.value.mistakes] == ["backfill.storge"]
