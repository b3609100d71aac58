"""The repositories that all scenarios work on: real and signed, from one seed, built once and kept on disk.

Two runs are comparable only if they read the same bytes, so the folder's name carries all that decides them.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

from local.network.accounts import Account, Population
from local.network.active import ActiveFaults
from local.network.keys import did_key
from local.network.store import RepoStore
from schemas.settings import Partitions

SEED = 1
RECORDS = 500
"""Of each repository."""
HOSTS = Partitions().dids
"""One for each partition of `dids`, so that each partition has its share of the work."""
_GENERATOR = ("accounts", "records", "keys", "tid", "repo", "store")


def population(accounts: int, records: int = RECORDS) -> Population:
    """The accounts of all scenarios, each with the same number of records."""
    return Population(seed=SEED, accounts=accounts, hosts=HOSTS, records=records, spread=0)


class Repositories:
    """The CAR files of the first `count` accounts. Life: made, `build` once, then read."""

    def __init__(self, cache: Path, count: int, size: int = RECORDS) -> None:
        """`cache` is the folder that the files' own folder lies in; `size` is records of each repository."""
        self.cache, self.count, self.size = cache, count, size
        self.folder = cache / f"cars-{count}x{size}-{SEED}-{_generator():08x}"
        self._population = population(count, size)

    @property
    def records(self) -> int:
        """Of all repositories."""
        return self.count * self.size

    def build(self, say: Callable[[str], None]) -> None:
        """Makes what is not there yet: about 30 us of CPU a record, once."""
        if self.folder.exists():
            return
        say(f"building {self.count:,} repositories of {self.size:,} records, once")
        draft = self.folder.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        store = RepoStore(self._population, ActiveFaults(), car_budget=0)
        for number in range(self.count):
            (draft / _file(number)).write_bytes(store.car(self.account(number)))
        draft.replace(self.folder)

    def account(self, number: int) -> Account:
        """The account of that number."""
        return self._population.account(number)

    def signing_key(self, number: int) -> str:
        """Its key as a did:key."""
        return did_key(self.account(number).key())

    def car(self, number: int) -> bytes:
        """Its repository as a CAR file."""
        return (self.folder / _file(number)).read_bytes()


def _file(number: int) -> str:
    return f"{number:06}.car"


def _generator() -> int:
    """Changes when the code that makes repositories does."""
    folder = Path(__file__).parents[1] / "local" / "network"
    return zlib.crc32(b"".join((folder / f"{name}.py").read_bytes() for name in _GENERATOR))
