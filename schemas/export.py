"""The models written out for people and other languages: JSON Schemas, `configs/default.yaml`, a reference.

Pure functions of the models. `docs/generate.py` writes what they return, and fails when a file disagrees.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import TypeAdapter

from schemas.audit import AuditEntry
from schemas.backfill import Backfill
from schemas.configs import StoredConfig
from schemas.deadletter import DeadLetter
from schemas.describe import Described, Schema
from schemas.dids import DidTask
from schemas.hosts import HostState
from schemas.job_specs import JobSpec
from schemas.job_status import JobHost, JobStatus, Ledger
from schemas.jobs import JobMessage
from schemas.outcomes import Outcome
from schemas.plans import PlanCheckpoint
from schemas.rates import JobRates
from schemas.records import RecordEvent, SyncEvent
from schemas.replays import Replay
from schemas.repos import RepoState
from schemas.settings import Settings
from schemas.tokens import ApiToken
from schemas.webhooks import Delivery

TOPIC_MODELS: dict[str, tuple[str, Any]] = {
    "jobs": ("JobMessage", JobMessage),
    "job-specs": ("JobSpec", JobSpec),
    "plans": ("PlanCheckpoint", PlanCheckpoint),
    "dids": ("DidTask", DidTask),
    "dids.retry": ("DidTask", DidTask),
    "records": ("RecordEvent or SyncEvent", RecordEvent | SyncEvent),
    "outcomes": ("RepoOutcome, PlanOutcome or JobEvent", Outcome),
    "deadletter": ("DeadLetter", DeadLetter),
    "replays": ("Replay", Replay),
    "ledger": ("Ledger", Ledger),
    "job-status": ("JobStatus", JobStatus),
    "repos": ("RepoState", RepoState),
    "hosts": ("HostState", HostState),
    "job-hosts": ("JobHost", JobHost),
    "rates": ("JobRates", JobRates),
    "configs": ("StoredConfig", StoredConfig),
    "tokens": ("ApiToken", ApiToken),
    "audit": ("AuditEntry", AuditEntry),
    "webhooks": ("Delivery", Delivery),
}
"""Each topic's value: what it is called, and its type. Names without the deployment's prefix."""

_REQUIRED_EXAMPLES: dict[tuple[str, ...], Any] = {
    ("source", "inline", "dids"): ["did:plc:z72i7hdynmk6r22z27h6tvur", "atproto.com"],
    ("source", "handles", "handles"): ["bsky.app", "atproto.com"],
    ("source", "file", "path"): "accounts.csv",
    ("source", "sqlite", "path"): "accounts.db",
    ("source", "s3", "path"): "s3://bucket/accounts/",
    ("source", "collection", "collections"): ["app.bsky.feed.post"],
    ("source", "job", "job_id"): "my-accounts-0123456789",
    ("storage", "parquet", "path"): "backfill",
    ("schedule", "cron"): "0 3 * * *",
    ("monitoring", "webhooks", "url"): "https://example.com/hooks/skyfill",
    ("monitoring", "webhooks", "secret"): "${env:HOOK_SECRET}",
}
"""What `configs/default.yaml` shows for keys that have no default."""


def json_schemas() -> dict[str, str]:
    """File name to text: the value of each topic, the document and the settings."""
    schemas = {topic: TypeAdapter(model).json_schema() for topic, (_, model) in TOPIC_MODELS.items()}
    del schemas["dids.retry"]  # the same as `dids`
    schemas["document"] = _document_schema()
    schemas["settings"] = Settings.model_json_schema()
    return {
        f"{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas.items()
    }


def _document_schema() -> Schema:
    inner = Backfill.model_json_schema()
    return {
        "type": "object",
        "title": "skyfill document",
        "additionalProperties": False,
        "required": ["backfill"],
        "properties": {"backfill": {"$ref": "#/$defs/Backfill"}},
        "$defs": inner.pop("$defs") | {"Backfill": inner},
    }


def config_reference() -> str:
    """`docs/config.md`: every key of the document and every setting."""
    lines = [
        "# Configuration",
        "",
        "Generated from the models in `schemas/` by `make docs`; change them, not this file.",
        "",
        "## The document",
        "",
        "A job is a YAML document with the one key `backfill`. `configs/default.yaml` shows it whole.",
        "Where a key depends on a `type`, the type stands in brackets.",
        "",
        "| key | what it takes | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    document = Described(Backfill.model_json_schema())
    for path, schema, required in document.leaves():
        chosen = path[1:2] if document.alternatives(_top(document, path[0])) else ()
        key = ".".join((path[0], *path[1 + len(chosen) :]))
        kind = f" [{chosen[0]}]" if chosen else ""
        meaning = schema.get("description", "Chooses this kind.")
        lines.append(
            f"| `{key}`{kind} | {document.words(schema)} | {_default(schema, required)} | {meaning} |"
        )
    lines += [
        "",
        "## Settings of the processes",
        "",
        "Defaults, then the YAML file that `SKYFILL_SETTINGS_FILE` names, then the environment, then flags:",
        "the later wins. In the file the keys are nested at the points.",
        "",
        "| key | environment variable | what it takes | default | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    settings = Described(Settings.model_json_schema())
    for path, schema, required in settings.leaves():
        lines.append(
            f"| `{'.'.join(path)}` | `SKYFILL_{'__'.join(path).upper()}` | {settings.words(schema)} "
            f"| {_default(schema, required)} | {schema.get('description', '')} |"
        )
    return "\n".join([*lines, ""])


def default_document() -> str:
    """`configs/default.yaml`: a valid document with every key, its default and what it means."""
    described = Described(Backfill.model_json_schema())
    lines = [
        "# Every key of a backfill document, with its default. Generated from schemas/backfill.py by",
        "# `make docs`; copy it and keep what you change.",
        "",
        "backfill:",
        *_mapping(described, described.root, (), 1),
    ]
    return "\n".join([*lines, ""])


def _mapping(described: Described, schema: Schema, above: tuple[str, ...], depth: int) -> Iterator[str]:
    pad = "  " * depth
    for name, below in schema.get("properties", {}).items():
        found = described.resolve(below)
        element = described.resolve(found["items"]) if "items" in found else found
        if name == "type" and "const" in found:
            continue  # written by whoever chose the alternative
        if depth == 1:
            yield ""
        if choice := described.alternatives(element):
            yield f"{pad}# {found['description']} One of the types: {', '.join(choice)}."
            yield f"{pad}{name}:"
            yield from _choice(described, choice, (*above, name), depth + 1, "items" in found)
        elif "properties" in found:
            yield f"{pad}# {found.get('description', '')}"
            lines = [f"{pad}{name}:", *_mapping(described, found, (*above, name), depth + 1)]
            # A section that may be absent and can't be empty is only shown.
            shown = found.get("required") and name not in schema.get("required", ())
            yield from (_commented(line, len(pad)) for line in lines) if shown else lines
        else:
            value = _REQUIRED_EXAMPLES.get((*above, name), found.get("default"))
            if value is None and found.get("type") == "array":
                value = []
            yield f"{pad}# {found.get('description', '')} Takes {described.words(found)}."
            yield f"{pad}{name}: {_yaml(value)}"
            if "properties" in element:
                yield from _entry(described, element, (*above, name), depth + 1)


def _entry(described: Described, schema: Schema, above: tuple[str, ...], depth: int) -> Iterator[str]:
    """One entry of a list of mappings, commented out."""
    pad = "  " * depth
    first, *rest = _mapping(described, schema, above, depth + 1)
    for line in (f"{pad}- {first.lstrip()}", *rest):
        yield _commented(line, len(pad))


def _choice(
    described: Described, choice: dict[str, Schema], above: tuple[str, ...], depth: int, is_list: bool
) -> Iterator[str]:
    """The example's type in force, the other types commented out."""
    order = sorted(choice, key=lambda tag: tag not in ("inline", "parquet"))
    for place, tag in enumerate(order):
        schema = choice[tag]
        body = list(_mapping(described, schema, (*above, tag), depth + is_list))
        pad = "  " * depth
        lines = [f"{pad}# {schema['description']}", f"{pad}{'- ' if is_list else ''}type: {tag}", *body]
        yield from lines if place == 0 else (_commented(line, len(pad)) for line in lines)


def _commented(line: str, at: int) -> str:
    mark = "#" if line[at] == "#" else "# "
    return line[:at] + mark + line[at:]


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _default(schema: Schema, required: bool) -> str:
    if required:
        return "required"
    default = schema.get("default")
    if default is None:
        return "empty" if schema.get("type") in ("array", "object") else "none"
    if default == "":
        return "empty"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _top(described: Described, name: str) -> Schema:
    found = described.resolve(described.root["properties"][name])
    return described.resolve(found["items"]) if "items" in found else found
