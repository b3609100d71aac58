"""Documents: what is wrong is said once, in its line, in the words of the one who wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.backfill import Backfill, DynamoDBStorage, ParquetStorage
from schemas.document import load_document, parse_document
from schemas.errors import ConfigError
from schemas.sources import JobSource, S3Source, SqliteSource

ROOT = Path(__file__).parents[2]
GOOD = """
backfill:
  source: {type: inline, dids: [alice.example]}
  storage: {type: parquet, path: out}
"""


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_document(text, name="job.yaml")
    return str(caught.value).splitlines()


def complaint(text: str) -> str:
    lines = complaints(text)
    assert len(lines) == 1, lines
    return lines[0]


def with_line(line: str) -> str:
    return GOOD + f"  {line}\n"


def test_a_small_document_gets_every_default() -> None:
    backfill = load_document(GOOD)
    assert backfill.processing.batch_size == 5000
    assert backfill.storage == [ParquetStorage(type="parquet", path="out")]
    assert backfill.time_range is None


def test_the_example_of_the_proposal_means_what_it_says() -> None:
    backfill = load_document(ROOT / "configs" / "examples" / "sqlite_to_dynamodb.yaml")
    assert backfill.source == SqliteSource(
        type="sqlite", path="accounts.db", query="SELECT did FROM dids ORDER BY did"
    )
    assert backfill.storage == [
        DynamoDBStorage(type="dynamodb", table_name="backfill_results", region="us-west-2")
    ]
    assert str(backfill.time_range and backfill.time_range.end_date) == "2025-02-02"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_document_of_ours_is_valid(path: Path) -> None:
    load_document(path)


def test_json_is_read_as_well() -> None:
    document = f'{{"backfill": {load_document(GOOD).model_dump_json()}}}'
    assert load_document(document) == load_document(GOOD)


def test_all_mistakes_are_told_at_once_each_in_its_line() -> None:
    text = """backfill:
  source:
    type: inlin
    dids: [a]
  record_types: [posts]
  time_range: {start_date: x}
  processing:
    batch_size: 0
    max_retrys: 3
  storage:
    type: dynamodb
    table_name: a
"""
    told = complaints(text)
    assert [line.split(": ")[0:2] for line in told] == [
        ["job.yaml:2", "backfill.source"],
        ["job.yaml:5", "backfill.record_types[0]"],
        ["job.yaml:6", "backfill.time_range.start_date"],
        ["job.yaml:8", "backfill.processing.batch_size"],
        ["job.yaml:9", "backfill.processing.max_retrys"],
        ["job.yaml:12", "backfill.storage.table_name"],
    ]
    assert "did you mean `inline`?" in told[0]
    assert "`file`" in told[0]
    assert "did you mean `post`?" in told[1]
    assert "YYYY-MM-DD" in told[2]
    assert "0 does not fit: it has to be a whole number from 1 to 50000 (default 5000)" in told[3]
    assert "did you mean `max_retries`?" in told[4]
    assert "3 to 255 characters" in told[5]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("# only a comment", "is empty"),
        ("[1, 2]", "is a list"),
        ("just words", "is plain text"),
        ("backfill:", "job.yaml:1: backfill: is empty; it has to be a mapping"),
        ("backfill: [1]", "is a list; it has to be a mapping"),
        ("a: [", "job.yaml:1:5: not valid YAML"),
        ("backfill:\n\t- x", "job.yaml:2:1: not valid YAML"),
        ("backfill: 1\n---\nbackfill: 2", "but found another document"),
        ("x: 2025-13-45", "not valid YAML: month must be in 1..12"),
        ("x: \x07", "not text"),
        ("x: !!python/object:os.system {}", "could not determine a constructor"),
        ("[" * 3000, "not valid YAML"),
        (with_line("version: 2.0"), "backfill.version: '2.0' does not fit: it has to be `1.0`"),
        (with_line("name: -x"), "the first a letter or digit"),
        (with_line("name: 3"), "backfill.name: 3 does not fit"),
        (with_line("processing:"), "backfill.processing: nothing does not fit: it has to be a mapping"),
        (with_line("processing: {requests_per_second: 0}"), "a number above 0, 10000 at the most"),
        (with_line("processing: {requests_per_second: .nan}"), "nan does not fit"),
        (with_line("processing: {max_retries: yes}"), "true is not a number"),
        (with_line("skip_existing: always"), "one of `false`, `true`, `since`"),
        (with_line("processing: {strategy: pages}"), "one of `repo`, `list`, `auto`"),
        (
            with_line("time_range: {start_date: 2025-01-02, by: rkey, margin_days: 3}"),
            "belongs to `by: creat",
        ),
        (with_line("time_range: {start_date: 20250102}"), "write a day as YYYY-MM-DD"),
        (with_line("time_range: {start_date: 2025-01-02T10:00:00}"), "YYYY-MM-DD"),
        (
            with_line("time_range: {start_date: 2025-02-02, end_date: 2025-01-02}"),
            "job.yaml:5: backfill.time_range: end_date lies before start_date",
        ),
        (with_line("uris: [x]"), "'x' is not at://DID/collection/rkey"),
        (with_line("storag: 1"), "job.yaml:5: backfill.storag: unknown key; did you mean `storage`?"),
        (with_line("zzz: 1"), "known: `name`, `version`"),
        (
            with_line("scope: {allow: {dids: [alice.example]}}"),
            "'alice.example' does not fit: it has to be a DID",
        ),
        (with_line("scope: {deny: {hosts: ['a b']}}"), "it has to be a host's name or origin"),
        (with_line("scope: {deny: {domains: ['https://x']}}"), "it has to be a domain, such as example.com"),
        (with_line("scope: {denied: {}}"), "did you mean `deny`?"),
        (with_line("3: 1"), "Keys should be strings"),
        (GOOD + "backfil: 1", "job.yaml:5: backfil: unknown key; did you mean `backfill`?"),
    ],
)
def test_one_mistake_one_line(text: str, told: str) -> None:
    assert told in complaint(text)


def test_a_repeated_key_is_a_mistake_and_named_with_both_lines() -> None:
    told = complaint(with_line("name: a\n  uris: []\n  name: b"))
    assert told == "job.yaml:7: name: this key stands in line 5 already"


def test_sources_and_stores_say_what_they_miss() -> None:
    told = complaints("backfill: {source: {}, storage: [{type: parquet}, {type: s3}]}")
    assert "backfill.source: `type` is missing; known: `collection`, `file`, `handles`" in told[0]
    assert "backfill.storage[0].path: is missing" in told[1]
    assert "backfill.storage[1]: unknown type 's3'; known: `dynamodb`, `parquet`" in told[2]


def test_an_empty_document_body_names_what_is_required() -> None:
    told = complaints("backfill: {}")
    assert [line.split(": ")[1:3] for line in told] == [
        ["backfill.source", "is missing"],
        ["backfill.storage", "is missing"],
    ]


def test_a_key_named_as_its_sections_type_is_still_found() -> None:
    assert "backfill.source.inline: unknown key" in complaint(
        "backfill: {source: {type: inline, dids: [a.b], inline: 1}, storage: {type: parquet, path: o}}"
    )


def test_a_missing_key_of_the_root_is_told_beside_what_stands_there() -> None:
    told = complaints("backfil: {}")
    assert "did you mean `backfill`?" in told[0]
    assert "the key `backfill:` is missing" in told[1]


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        load_document(tmp_path / "none.yaml")
    binary = tmp_path / "latin.yaml"
    binary.write_bytes(b"backfill: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        load_document(binary)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    marked = tmp_path / "marked.yaml"
    marked.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_document(marked) == load_document(GOOD)


def test_a_mapping_is_judged_like_a_file_without_lines() -> None:
    section = {"source": {"type": "inline", "dids": []}, "storage": {"type": "parquet", "path": "x"}}
    with pytest.raises(ConfigError) as caught:
        parse_document(section)
    assert str(caught.value) == (
        "backfill.source.dids: an empty list does not fit: it has to be a list with at least 1 entry"
    )
    assert isinstance(parse_document(load_document(GOOD).model_dump(mode="json")), Backfill)


def test_endless_text_is_cut() -> None:
    assert len(complaint(with_line(f"version: {'9' * 5000}"))) < 300


def with_source(source: str) -> str:
    return f"backfill: {{source: {source}, storage: {{type: parquet, path: o}}}}"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{type: s3, path: bucket/key}", "'bucket/key' does not fit: it has to be s3://BUCKET/KEY"),
        ("{type: s3, path: 's3://b/x', endpoint_url: localhost}", "it has to be s3://BUCKET/KEY"),
        ("{type: s3, path: 's3://bucket/x', endpoint_url: localhost}", "it has to be a URL"),
        ("{type: file, path: x, format: xml}", "it has to be one of `txt`, `csv`, `tsv`, `jsonl`, `parquet`"),
        ("{type: relay, url: 'https://relay.example/xrpc'}", "it has to be the origin of a host"),
        ("{type: hosts, concurrency: 65}", "65 does not fit: it has to be a whole number from 1 to 64"),
        ("{type: collection, collections: [post]}", "'post' does not fit: it has to be a collection"),
        ("{type: collection, collections: []}", "a list with at least 1 entry"),
        ("{type: handles, handles: ['did:plc:x']}", "'did:plc:x' is a DID and no handle"),
        ("{type: job, job_id: ../x}", "the first a letter or digit"),
        ("{type: job, job_id: x, outcome: lost}", "it has to be one of `failed`, `unavailable`"),
        ("{type: job, job_id: x, error_type: [lost]}", "it has to be one of `fetch_failed`"),
    ],
)
def test_a_source_that_makes_no_sense_is_told(source: str, told: str) -> None:
    assert told in complaints(with_source(source))[0]


def test_the_sources_of_the_proposal_and_short_forms() -> None:
    source = load_document(with_source("{type: s3, path: 's3://bucket/path'}")).source
    assert source == S3Source(type="s3", path="s3://bucket/path")
    source = load_document(with_source("{type: job, job_id: x, outcome: unavailable}")).source
    assert isinstance(source, JobSource)
    assert (source.outcome, source.error_type) == (["unavailable"], [])
    assert load_document(with_source("{type: s3, path: 's3://bucket/x'}")).absolute(ROOT).source == S3Source(
        type="s3", path="s3://bucket/x"
    )


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "- " * 200_000, "? " * 200_000, "{a: " * 200_000, "- [{" * 5000, "[[]," * 200]
)
def test_what_lies_too_deep_is_refused_before_any_parser_goes_down_there(text: str) -> None:
    with pytest.raises(ConfigError, match="nested over 100 levels"):
        load_document(text)


def test_brackets_that_are_closed_again_are_not_deep() -> None:
    dids = ", ".join(["did:plc:z72i7hdynmk6r22z27h6tvur"] * 3000)
    more = "  scope: {allow: {dids: []}}\n" + "".join(f"  # [{number}]\n" for number in range(300))
    storage = "  storage: {type: parquet, path: x}\n"
    text = f"backfill:\n  source: {{type: inline, dids: [{dids}]}}\n{storage}{more}"
    assert len(load_document(text).source.dids) == 3000  # type: ignore[union-attr]


def test_of_very_many_mistakes_the_first_hundred_are_told() -> None:
    text = f"backfill:\n  source: {{type: inline, dids: [{', '.join(['1'] * 5000)}]}}\n  storage: []\n"
    with pytest.raises(ConfigError) as error:
        load_document(text)
    lines = str(error.value).splitlines()
    assert len(lines) == 101
    assert lines[-1] == "document:1: backfill: and 4,901 more mistakes"
