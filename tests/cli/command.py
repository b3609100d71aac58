"""The `skyfill` command as a user has it: the installed executable, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import aiohttp

from local.compare import parse_truth
from local.network.truth import AccountTruth

EXECUTABLE = Path(sys.executable).with_name("skyfill")
PATIENCE = 120.0


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


@dataclass
class Started:
    """A command that runs."""

    process: subprocess.Popen[str]

    def wait(self, timeout: float = PATIENCE) -> Ended:
        """Its end."""
        out, err = self.process.communicate(timeout=timeout)
        return Ended(self.process.returncode, out, err)

    def until_status(self, status: str) -> None:
        """Reads the lines of `status --watch --json` until this status is told."""
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline()) and json.loads(line)["status"] != status:
            pass
        assert line, f"ended before the job was {status}"

    def end(self, number: int, timeout: float = 30.0) -> Ended:
        """Sends a signal; the end that follows."""
        self.process.send_signal(number)
        return self.wait(timeout)


@dataclass
class Skyfill:
    """Runs commands in one folder, with one environment. `close` ends what a failed test left."""

    folder: Path
    env: Mapping[str, str]
    started: list[Started] = field(default_factory=list)

    def start(self, *arguments: object) -> Started:
        """A command in the background."""
        process = subprocess.Popen(
            [str(EXECUTABLE), *map(str, arguments)],
            cwd=self.folder,
            env=dict(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(Started(process))
        return self.started[-1]

    def run(self, *arguments: object) -> Ended:
        """A command to its end."""
        return self.start(*arguments).wait()

    def document(self, name: str, **backfill: Any) -> Path:
        """Writes a job's document (JSON is YAML, too)."""
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps({"backfill": {"name": name, **backfill}}, indent=1))
        return path

    def close(self) -> None:
        """Kills what still runs."""
        for one in self.started:
            with suppress(ProcessLookupError):
                one.process.kill()
            one.process.communicate()


@dataclass(frozen=True)
class Served:
    """A simulated network that runs, and what it serves."""

    plc_url: str
    accounts: list[AccountTruth]

    def ok(self, number: int) -> list[AccountTruth]:
        """So many accounts that nothing is wrong with."""
        return [account for account in self.accounts if account.state == "ok"][:number]

    def handle(self, account: AccountTruth) -> str:
        """As its DID document says."""
        with urlopen(f"{self.plc_url}/{account.did}") as answer:
            name: str = json.load(answer)["alsoKnownAs"][0]
        return name.removeprefix("at://")

    def one(self, state: str) -> AccountTruth:
        """The first account in this state."""
        return next(account for account in self.accounts if account.state == state)


def environment(**settings: str | None) -> dict[str, str]:
    """This process's environment with these SKYFILL_ settings and no others; None: not set."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SKYFILL_")}
    return bare | {f"SKYFILL_{name}": value for name, value in settings.items() if value is not None}


async def truth_of(plc_url: str) -> list[AccountTruth]:
    """What the network serves."""
    async with aiohttp.ClientSession() as session, session.get(f"{plc_url}/_truth") as answer:
        return [parse_truth(line) for line in (await answer.read()).splitlines()]


def until(true: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What `true` returns as soon as that is true."""
    deadline = time.monotonic() + patience
    while not (found := true()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found
