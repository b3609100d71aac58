"""The stores of a job, tried before any account is fetched: what can't be written to is told at once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from schemas.backfill import Backfill, DynamoDBStorage, ParquetStorage
from schemas.errors import ConfigError
from schemas.job_status import JobStatus
from schemas.settings import DynamoDBSettings
from sinks.reports import has_report
from sinks.tables import TableMissing, connect, create_table, table_exists


def require_folders(backfill: Backfill) -> None:
    """Makes the folders of Parquet files. Raises ConfigError for one that can't be written to."""
    for storage in backfill.storage:
        if isinstance(storage, ParquetStorage):
            writable_folder(Path(storage.path), "output folder")


def writable_folder(folder: Path, what: str) -> None:
    """Makes a folder and writes into it. Raises ConfigError, which calls the folder `what`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"the {what} {folder} can't be written to: {error.strerror}; choose another"
        ) from error


def folders_without_report(backfill: Backfill, status: JobStatus) -> list[Path]:
    """Folders of Parquet files that the report of a job that has ended is not in yet."""
    folders = [Path(storage.path) for storage in backfill.storage if isinstance(storage, ParquetStorage)]
    return [folder for folder in folders if not has_report(folder, status)]


def require_tables(backfill: Backfill, settings: DynamoDBSettings, *, create: bool) -> None:
    """Returns if all DynamoDB tables are there; with `create`, makes them.

    Raises SinkError where DynamoDB can't be used, TableMissing for a table that does not exist.
    """
    for storage in backfill.storage:
        if isinstance(storage, DynamoDBStorage):
            client = connect(settings, storage.region, storage)
            if create:
                create_table(client, storage.table_name)
            elif not table_exists(client, storage.table_name):
                raise TableMissing(
                    f"table {storage.table_name} does not exist; run `skyfill tables create "
                    f"{storage.table_name}`"
                )
