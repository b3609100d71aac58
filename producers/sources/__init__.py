"""Where accounts come from: one file a source. A new source is a file here and a line in `open_source`."""

from __future__ import annotations

from typing import assert_never

from producers.sources.base import AccountSource
from producers.sources.file import FileAccounts
from producers.sources.hosts import HostAccounts
from producers.sources.inline import InlineAccounts
from producers.sources.job import JobAccounts
from producers.sources.listed import LIST_PAGE
from producers.sources.plc import PlcAccounts
from producers.sources.reach import Reach
from producers.sources.relay import CollectionAccounts, RelayAccounts
from producers.sources.s3 import S3Accounts
from producers.sources.sqlite import SqliteAccounts
from schemas.job_specs import JobSpec
from schemas.sources import (
    CollectionSource,
    FileSource,
    HandlesSource,
    HostsSource,
    InlineSource,
    JobSource,
    PlcSource,
    RelaySource,
    S3Source,
    SqliteSource,
)

__all__ = ["AccountSource", "Reach", "open_source"]


def open_source(spec: JobSpec, reach: Reach) -> AccountSource:
    """The source that a job's document names. Nothing is opened before its pages are asked for."""
    source = spec.backfill.source
    # A chunk is made of whole pages, and never of more accounts than a batch.
    listed = min(LIST_PAGE, spec.backfill.processing.batch_size)
    match source:
        case InlineSource() | HandlesSource():
            return InlineAccounts(source, listed)
        case FileSource():
            return FileAccounts(source, listed)
        case SqliteSource():
            return SqliteAccounts(source, listed)
        case S3Source():
            return S3Accounts(source, reach.settings.s3, listed)
        case RelaySource():
            return RelayAccounts(source, spec, reach)
        case HostsSource():
            return HostAccounts(source, spec, reach)
        case CollectionSource():
            return CollectionAccounts(source, spec, reach)
        case PlcSource():
            return PlcAccounts(source, spec.job_id, reach, listed)
        case JobSource():
            return JobAccounts(source, reach, listed)
    assert_never(source)
