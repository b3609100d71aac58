"""The demo's deployment: a simulated network with some faults on, as a process, and a job over all of it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import aiohttp
import orjson

from local.compare import parse_truth
from local.network.truth import AccountTruth
from local.process import ChildProcess
from schemas.backfill import Backfill
from schemas.errors import ConfigError
from schemas.settings import Settings

_READY_SECONDS = 60
_MARK = ".skyfill-demo"
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


def clean_folder(folder: Path) -> Path:
    """An empty folder; what an earlier demo left there goes. ConfigError if other things are there."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise ConfigError(f"{folder} holds other things than a demo's; name another folder with --out")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
    return folder.resolve()


def demo_settings(settings: Settings, folder: Path, plc_url: str) -> Settings:
    """The settings for the demo: everything embedded, everything in its folder, loopback hosts allowed."""
    network = settings.network.model_copy(update={"plc_url": plc_url, "allow_private_hosts": True})
    return settings.model_copy(update={"data_dir": folder / "data", "network": network})


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
