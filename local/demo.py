"""The demo: a simulated network with some faults on, as a process, a job over all of it, and the comparison
of both stores with what the network served.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson

from local.compare import Comparison, compare, dynamodb_records, parquet_records, parse_truth, records_of
from local.folder_lock import folder_lock
from local.network.truth import AccountTruth
from local.one_shot import OneShot, Progress, Result
from local.process import ChildProcess
from schemas.backfill import Backfill
from schemas.errors import ConfigError, LocalServerError
from schemas.settings import Settings

_READY_SECONDS = 60
_MARK = ".skyfill-demo"
_DATA = "data"
TABLE = "skyfill_demo"


class DemoNetwork:
    """Life: `start`, then `truth` and `dids`, then `stop`."""

    def __init__(self, folder: Path, *, accounts: int, hosts: int, records: int, seed: int) -> None:
        """`folder` takes its log and the file that says where it listens."""
        self._ready = folder / "network.json"
        figures = {"accounts": accounts, "hosts": hosts, "records": records, "seed": seed}
        flags = [word for name, value in figures.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "cli", "network", "--ready", str(self._ready), *flags]
        self._process = ChildProcess("network", command, folder / "logs" / "network.log")
        self.plc_url = ""

    async def start(self) -> None:
        """Starts it and waits until it serves. Raises LocalServerError."""
        self._ready.unlink(missing_ok=True)
        self._process.start()
        await self._process.wait_until(self._is_ready, patience=_READY_SECONDS)
        self.plc_url = orjson.loads(self._ready.read_bytes())["plc_url"]

    async def truth(self, *, records: bool = True) -> list[AccountTruth]:
        """What a perfect backfill would hold."""
        url = f"{self.plc_url}/_truth" + ("" if records else "?records=0")
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return [parse_truth(line) for line in (await answer.read()).splitlines()]

    async def stop(self) -> None:
        """Ends it."""
        await self._process.stop()

    async def _is_ready(self) -> bool:
        return self._ready.exists()


@dataclass(frozen=True)
class DemoResult:
    """What the demo shows."""

    result: Result
    backfill: Backfill
    truth: list[AccountTruth]
    parquet: Comparison
    dynamodb: Comparison

    @property
    def repositories(self) -> int:
        """Accounts that a perfect backfill completes."""
        return sum(account.state == "ok" for account in self.truth)

    @property
    def lost(self) -> int:
        """Records that a store lacks or has otherwise."""
        return sum(c.lost + c.different for c in (self.parquet, self.dynamodb))

    @property
    def duplicated(self) -> int:
        """Records that a store has again, or that nobody served."""
        return sum(c.duplicated + c.foreign for c in (self.parquet, self.dynamodb))

    def wrong_counts(self) -> str | None:
        """What the status says of the accounts, if the network meant something else."""
        unavailable = sum(account.state == "unavailable" for account in self.truth)
        failed = len(self.truth) - self.repositories - unavailable
        totals = self.result.status.totals
        if (totals.completed, totals.unavailable, totals.failed) == (self.repositories, unavailable, failed):
            return None
        return (
            f"the status says {totals.completed} completed, {totals.unavailable} unavailable and "
            f"{totals.failed} failed; the network served {self.repositories}, {unavailable} and {failed}"
        )


async def run_demo(
    network: DemoNetwork, settings: Settings, folder: Path, workers: int, show: Callable[[Progress], None]
) -> DemoResult:
    """Runs the network and the job. `settings` are those of `demo_settings`. Raises what OneShot raises."""
    try:
        await network.start()
        dids = [account.did for account in await network.truth(records=False)]
        reachable = settings.network.model_copy(
            update={"plc_url": network.plc_url, "plc_mirror": None, "allow_private_hosts": True}
        )
        shot = OneShot(
            settings.model_copy(update={"network": reachable}),
            backfill := demo_backfill(dids, folder),
            workers=workers,
            local_dynamodb="memory",
            again=True,  # a given broker may remember an earlier demo
            show=show,
        )
        comparisons: list[Comparison] = []

        async def compare_stores(running: Settings) -> None:
            rows = {
                "Parquet": parquet_records(folder / "parquet"),
                "DynamoDB": dynamodb_records(running.dynamodb, TABLE),
            }
            for name, stored in rows.items():
                comparisons.append(await asyncio.to_thread(compare, name, records_of(truth), stored))

        truth = await network.truth()
        result = await shot.run(before_stop=compare_stores)
        return DemoResult(result, backfill, truth, *comparisons)
    finally:
        await network.stop()


def clean_folder(folder: Path) -> Path:
    """An empty folder; what an earlier demo left there goes.

    ConfigError if other things are there, LocalServerError if a demo is at work in it.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise ConfigError(f"{folder} holds other things than a demo's; name another folder with --out")
        try:
            asyncio.run(_nobody_in(folder / _DATA))
        except LocalServerError:
            raise LocalServerError(
                f"another demo runs in {folder}; wait for it or name another with --out"
            ) from None
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
    return folder.resolve()


async def _nobody_in(data_dir: Path) -> None:
    async with folder_lock(data_dir, patience=0):
        return


def demo_settings(settings: Settings, folder: Path) -> Settings:
    """The settings for the demo: everything in its folder."""
    return settings.model_copy(update={"data_dir": folder / _DATA})


def demo_backfill(dids: list[str], folder: Path) -> Backfill:
    """The demo's job: all accounts, into Parquet and DynamoDB."""
    return Backfill.model_validate(
        {
            "name": "demo",
            "source": {"type": "inline", "dids": dids},
            "processing": {"requests_per_second": 100, "max_retries": 3},
            "storage": [
                {"type": "parquet", "path": str(folder / "parquet")},
                {"type": "dynamodb", "table_name": TABLE},
            ],
            "monitoring": {"alert_on_failure": False},
        }
    )
