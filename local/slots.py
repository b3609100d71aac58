"""Which of its kind a process is, where nobody says so: the lowest number that is free on this machine.

The number names the process's transactional id, so a successor has to get its predecessor's: the kernel gives
a lock back when its holder is gone, however it went, and the next process takes the lowest free one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ConfigError

_MOST = 1024


@contextmanager
def held_slot(data_dir: Path, kind: str, wanted: int | None) -> Iterator[int]:
    """The slot, held while the block runs: `wanted`, or the first that no process on this data folder holds.

    A slot that was asked for is taken even from a holder: he may be a process that stands still, whose
    successor this one is. ConfigError for a folder that can't be written to.
    """
    folder = data_dir / "slots"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        slot, descriptor = _free(folder, kind) if wanted is None else (wanted, _lock(folder, kind, wanted))
    except OSError as error:
        raise ConfigError(
            f"the data folder {data_dir} can't be written to: {error.strerror}; name another with "
            f"SKYFILL_DATA_DIR"
        ) from error
    try:
        yield slot
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _free(folder: Path, kind: str) -> tuple[int, int]:
    for slot in range(_MOST):
        if (descriptor := _lock(folder, kind, slot)) is not None:
            return slot, descriptor
    raise ConfigError(f"all {_MOST} slots for a {kind} are taken in {folder}")


def _lock(folder: Path, kind: str, slot: int) -> int | None:
    """The open lock; None if another process has it."""
    descriptor = os.open(folder / f"{kind}-{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
