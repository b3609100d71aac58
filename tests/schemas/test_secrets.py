"""Secrets: a literal is refused wherever it stands, and no error, letter or text ever repeats it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from producers.commands import judge
from schemas.backfill import Backfill, DynamoDBStorage, Webhook
from schemas.document import load_document, parse_document
from schemas.errors import ConfigError
from schemas.job_specs import JobSpec
from schemas.jobs import JobMessage
from schemas.secrets import LEFT_OUT, aws_credentials, mask, masked_json, reveal
from schemas.webhooks import shown_url

CANARY = "canary-9f8e7d6c5b4a"
GOOD: dict[str, Any] = {
    "source": {"type": "inline", "dids": ["alice.example"]},
    "storage": {"type": "dynamodb"},
}
KEYS = {"access_key_id": "${env:A}", "secret_access_key": "${file:/run/b}"}
HOOK = {"url": "https://hooks.example/x", "secret": "${env:HOOK}"}


def with_hook(**changes: Any) -> dict[str, Any]:
    return GOOD | {"monitoring": {"webhooks": [HOOK | changes]}}


WRONG: dict[str, dict[str, Any]] = {
    "a literal": with_hook(secret=CANARY),
    "around a reference": with_hook(secret="${env:X}" + CANARY),
    "another reference": with_hook(secret="${vault:" + CANARY + "}"),
    "a relative file": with_hook(secret="${file:" + CANARY + "}"),
    "a list": with_hook(secret=[CANARY]),
    "a misspelt key": with_hook(secet=CANARY),
    "a list of secrets": GOOD | {"monitoring": {"webhooks": [CANARY]}},
    "no list": GOOD | {"monitoring": {"webhooks": CANARY}},
    "no section": GOOD | {"monitoring": CANARY},
    "a store's key": GOOD | {"storage": {"type": "dynamodb", **KEYS, "secret_access_key": CANARY}},
    "a store's misspelt key": GOOD | {"storage": {"type": "dynamodb", "secret_acces_key": CANARY}},
    "a store in place of stores": GOOD | {"storage": CANARY},
    "one of the stores": GOOD | {"storage": [{"type": "dynamodb", **KEYS}, CANARY]},
    "a source's token": GOOD | {"source": {"type": "s3", "path": "s3://bucket/x", "session_token": CANARY}},
    "a source's path": GOOD | {"source": {"type": "s3", "path": f"s3://id:{CANARY}@bucket/x"}},
    "a source's endpoint": GOOD
    | {"source": {"type": "s3", "path": "s3://bucket/x", "endpoint_url": f"https://u:{CANARY}@s3.example"}},
    "a folder": GOOD | {"storage": {"type": "parquet", "path": f"s3://id:{CANARY}@bucket/x"}},
    "a URL's password": with_hook(url=f"https://user:{CANARY}@hooks.example/"),
    "no URL": with_hook(url=f"hooks.example/?key={CANARY}"),
}


@pytest.mark.parametrize("section", WRONG.values(), ids=WRONG.keys())
def test_what_is_refused_is_not_repeated(section: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as told:
        parse_document(section)
    assert CANARY not in str(told.value)
    with pytest.raises(ConfigError) as in_a_file:
        load_document(json.dumps({"backfill": section}, indent=1))
    assert CANARY not in str(in_a_file.value)
    with pytest.raises(ValidationError) as raw:
        Backfill.model_validate(section)
    assert CANARY not in str(raw.value)
    with pytest.raises(ValidationError) as decoded:
        JobSpec.model_validate({"job_id": "j", "backfill": section, "submitted_at": datetime.now(UTC)})
    assert CANARY not in str(decoded.value)


@pytest.mark.parametrize("section", WRONG.values(), ids=WRONG.keys())
def test_a_refused_command_leaves_no_trace_of_it(section: dict[str, Any]) -> None:
    # What may be hidden here is what stands under a key that may be secret, or looks like one of ours.
    hidden = json.dumps(section).replace(CANARY, f"whsec_{CANARY}")
    for value in (
        hidden,
        f'{{"backfill": {hidden}}}',
        f'{{"backfill": {hidden}',
        f'{{"action": 3, "b": {hidden}}}',
    ):
        verdict = judge("j", 1, value.encode(), None, now=datetime.now(UTC), folder=Path("/x"))
        assert verdict.dead_letter is not None
        published = [message.encode() for _, _, message in verdict.publications(_names())]
        assert CANARY not in b"".join(published).decode()


def _names() -> Any:
    from messaging.names import Names

    return Names("")


def test_a_command_that_is_no_mapping_is_told_without_what_it_holds() -> None:
    with pytest.raises(ValidationError) as told:
        JobMessage.decode(json.dumps({"action": CANARY, "backfill": CANARY}).encode())
    assert CANARY not in str(told.value)


@pytest.mark.parametrize(
    "text", ["secret: *{}", "secret: !{} x", "a: {{secret: !!int '{}'}}", "secret: !!timestamp {}"]
)
def test_what_yaml_quotes_is_left_out_where_a_secret_is_mentioned(text: str) -> None:
    with pytest.raises(ConfigError) as told:
        load_document("backfill:\n  " + text.format("canary9f8e7d"))
    assert "canary9f8e7d" not in str(told.value)


def test_references_are_kept_as_they_are_and_shown() -> None:
    backfill = parse_document(with_hook() | {"storage": {"type": "dynamodb", **KEYS}})
    assert backfill.monitoring.webhooks == [Webhook.model_validate(HOOK)]
    assert backfill.monitoring.webhooks[0].events == ["complete", "partial_success", "error", "stale"]
    assert KEYS.items() <= backfill.model_dump()["storage"][0].items()
    assert parse_document(backfill.model_dump(mode="json")) == backfill


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"access_key_id": "${env:A}"}, "belong together"),
        ({"secret_access_key": "${env:A}"}, "belong together"),
        ({"session_token": "${env:A}"}, "session_token belongs to"),
    ],
)
def test_credentials_are_whole(keys: dict[str, str], told: str) -> None:
    for section in (
        GOOD | {"storage": {"type": "dynamodb", **keys}},
        GOOD | {"source": {"type": "s3", "path": "s3://bucket/x", **keys}},
    ):
        with pytest.raises(ConfigError, match=told):
            parse_document(section)


def test_what_a_reference_means(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("A_SECRET", CANARY)
    file = tmp_path / "secret"
    file.write_text(f" {CANARY} \n")
    assert reveal("${env:A_SECRET}") == CANARY
    assert reveal(f"${{file:{file}}}") == f" {CANARY} "
    store = DynamoDBStorage(
        type="dynamodb", access_key_id="${env:A_SECRET}", secret_access_key="${env:A_SECRET}"
    )
    assert aws_credentials(store) == {"aws_access_key_id": CANARY, "aws_secret_access_key": CANARY}
    assert aws_credentials(DynamoDBStorage(type="dynamodb")) == {}


def test_what_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AN_EMPTY_ONE", "")
    for name in ("AN_EMPTY_ONE", "NOT_SET_ANYWHERE"):
        with pytest.raises(ConfigError, match=f"the environment variable {name} is not set"):
            reveal(f"${{env:{name}}}")
    with pytest.raises(ConfigError, match=r"/none\}: the file can't be read .*No such file"):
        reveal(f"${{file:{tmp_path}/none}}")
    for content, told in ((b"\n", "is empty"), (b"\xff", "not UTF-8"), (b"x" * 70_000, "too large")):
        (tmp_path / "odd").write_bytes(content)
        with pytest.raises(ConfigError, match=told):
            reveal(f"${{file:{tmp_path}/odd}}")
    with pytest.raises(ConfigError) as literal:
        reveal(CANARY)
    assert CANARY not in str(literal.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"GET https://u:{CANARY}@h.example/x failed", "GET https://***@h.example/x failed"),
        (f"https://h/x?a=1&token={CANARY}&b=2", "https://h/x?a=1&token=***&b=2"),
        (f"https://h/x?X-Amz-Signature={CANARY}#y", "https://h/x?X-Amz-Signature=***#y"),
        (f"https://h/x?X-Amz-Credential={CANARY}%2F2026&z=1", "https://h/x?X-Amz-Credential=***&z=1"),
        (f"Authorization: Bearer {CANARY}", "Authorization: Bearer ***"),
        (f'{{"session_token": "a\\"{CANARY}", "n": 1}}', '{"session_token": "***", "n": 1}'),
        (f"skf_0123456789_{CANARY}", "skf_0123456789_***"),
        (f"whsec_{CANARY}=", "whsec_***"),
        ("an unexpected token: 3 was found", "an unexpected token: 3 was found"),
        ("did:plc:abc@x at://did:plc:a/b/c", "did:plc:abc@x at://did:plc:a/b/c"),
        (
            "https://h.example/xrpc/x?did=did:plc:a&since=3l",
            "https://h.example/xrpc/x?did=did:plc:a&since=3l",
        ),
        ('"secret": "${env:NAME}"', '"secret": "${env:NAME}"'),
    ],
)
def test_what_is_masked_and_what_is_not(text: str, shown: str) -> None:
    assert mask(text) == shown


@given(st.text())
def test_masking_never_fails_and_masked_text_stays_as_it_is(text: str) -> None:
    assert mask(mask(text)) == mask(text)
    assert isinstance(masked_json(text), str)


def test_masked_json_keeps_all_else() -> None:
    plain = '{"backfill": {"name":   "x"}}'
    assert masked_json(plain) == plain
    assert json.loads(masked_json(json.dumps(with_hook()))) == with_hook()
    twice = f'{{"secret": "{CANARY}", "secret": "${{env:A}}"}}'
    assert json.loads(masked_json(twice)) == {"secret": "${env:A}"}
    escaped = f'{{"s\\u0065cret": "{CANARY}"'
    assert masked_json(escaped) == LEFT_OUT
    assert json.loads(masked_json(f'{{"s\\u0065cret": {{"a": ["{CANARY}", 7, null]}}}}')) == {
        "secret": {"a": ["***", "***", None]}
    }


def test_a_url_is_shown_without_its_query() -> None:
    assert shown_url(f"https://hooks.example:8443/a/b?key={CANARY}") == "https://hooks.example:8443/a/b"
