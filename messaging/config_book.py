"""Stored documents: how they are named, told apart by version, and written as files."""

from __future__ import annotations

import hashlib
import re

import yaml

from schemas.backfill import Backfill
from schemas.configs import StoredConfig
from schemas.section import NAME_PATTERN

PARTITIONS = 1
"""Of the topic."""
LONGEST_NAME = 100


def is_config_name(text: str) -> bool:
    """Whether a text may name a config: it becomes part of URLs and of files' names."""
    return len(text) <= LONGEST_NAME and re.fullmatch(NAME_PATTERN, text) is not None


def version_of(config: StoredConfig) -> str:
    """The same for the same content, written by the same token at the same time; else another one."""
    return hashlib.sha256(config.encode()).hexdigest()[:20]


def document_text(backfill: Backfill) -> str:
    """The document as a file that `skyfill start` takes; what is as it is by default is left out."""
    said = backfill.model_dump(mode="json", exclude_defaults=True)
    kept = {"name": backfill.name, **said}
    return yaml.safe_dump({"backfill": kept}, sort_keys=False, allow_unicode=True)
