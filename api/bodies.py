"""Bodies that are documents, for the OpenAPI document: their schema, and examples that run."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.backfill import Backfill
from schemas.tokens import Role

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


class NewToken(BaseModel):
    """A token that is to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="What it is for.", min_length=1, max_length=100, pattern=r"^\S(.*\S)?$")
    role: Role
    expires_at: AwareDatetime | None = Field(None, description="From when on it is no good; absent: never.")


def body_of(schema: str, examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A body of JSON alone, whose schema is among the components."""
    made = _body({"$ref": f"{_SCHEMAS}{schema}"}, examples)
    del made["requestBody"]["content"]["application/yaml"]
    return made


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


RETRY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "letters": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 1000,
                            "items": {"type": "string", "pattern": "^[0-9]{1,9}:[0-9]{1,18}$"},
                            "description": "Dead letters by their ids; absent: all of the job.",
                        }
                    },
                    "additionalProperties": False,
                },
                "examples": {"all": {"value": {}}, "some": {"value": {"letters": ["0:0"]}}},
            }
        },
    }
}
DOCUMENT_BODY = _body({"$ref": f"{_SCHEMAS}Document"}, {"document": EXAMPLE})
VALIDATE_BODY = _body({"type": "object", "description": "Any document."}, {"document": EXAMPLE})
CONFIG_CREATED: dict[str, Any] = {
    "description": "Successful Response",
    "content": {"application/json": {"schema": {"$ref": f"{_SCHEMAS}ConfigView"}}},
}
CONFIG_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/yaml": {"schema": {"type": "string"}}}}
}
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
        "NewToken": NewToken.model_json_schema(),
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
                    "type": ["object", "null"],
                    "description": "Keys below `backfill:`, put over the stored ones.",
                },
            },
            "required": ["config"],
            "additionalProperties": False,
        },
    }
