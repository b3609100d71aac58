"""Bodies that are documents, for the OpenAPI document: their schema, and examples that run."""

from __future__ import annotations

from typing import Any

import yaml

from schemas.backfill import Backfill

EXAMPLE: dict[str, Any] = {
    "backfill": {
        "name": "my-accounts",
        "source": {"type": "inline", "dids": ["did:plc:z72i7hdynmk6r22z27h6tvur"]},
        "record_types": ["post"],
        "storage": [{"type": "parquet", "path": "my-accounts"}],
    }
}
STORED_EXAMPLE: dict[str, Any] = {"config": "nightly", "overrides": {"record_types": ["post"]}}
_SCHEMAS = "#/components/schemas/"


def _body(json_schema: dict[str, Any], examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": json_schema,
                    "examples": {name: {"value": value} for name, value in examples.items()},
                },
                "application/yaml": {
                    "schema": json_schema,
                    "examples": {
                        name: {"value": yaml.safe_dump(value, sort_keys=False)}
                        for name, value in examples.items()
                    },
                },
            },
        }
    }


DOCUMENT_BODY = _body({"$ref": f"{_SCHEMAS}Document"}, {"document": EXAMPLE})
START_BODY = _body(
    {"anyOf": [{"$ref": f"{_SCHEMAS}Document"}, {"$ref": f"{_SCHEMAS}FromConfig"}]},
    {"document": EXAMPLE, "config": STORED_EXAMPLE},
)


def body_schemas() -> dict[str, Any]:
    """The schemas that these bodies name, for the OpenAPI document's components."""
    backfill = Backfill.model_json_schema(ref_template=f"{_SCHEMAS}{{model}}")
    return {
        **backfill.pop("$defs", {}),
        "Backfill": backfill,
        "Document": {
            "type": "object",
            "description": "A document as it stands in a file; docs/config.md has every key.",
            "properties": {"backfill": {"$ref": f"{_SCHEMAS}Backfill"}},
            "required": ["backfill"],
            "additionalProperties": False,
        },
        "FromConfig": {
            "type": "object",
            "description": "A stored config, and what is to be different this time.",
            "properties": {
                "config": {"type": "string"},
                "overrides": {
                    "type": "object",
                    "description": "Keys below `backfill:`, put over the stored ones.",
                },
            },
            "required": ["config"],
            "additionalProperties": False,
        },
    }
