"""A data folder belongs to one server at a time: two of them would destroy each other's files.

The lock has to live exactly as long as the server itself, not as long as the process that started it, so the
server inherits it; the kernel lets go of it when the server is gone, however it went.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from schemas.errors import LocalServerError

POLL_SECONDS = 0.05


@asynccontextmanager
async def folder_lock(folder: Path, *, patience: float = 15.0) -> AsyncIterator[int]:
    """Hold the lock of a folder, made if need be; the file descriptor to pass on to the server.

    Waits up to ``patience`` seconds, because a predecessor may still be dying, then raises LocalServerError.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        await _lock(descriptor, folder, time.monotonic() + patience)
        yield descriptor
    finally:
        # Whoever inherited the descriptor keeps the lock.
        os.close(descriptor)


async def _lock(descriptor: int, folder: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LocalServerError(
                    f"{folder} is in use by a server that still runs. Stop that one or choose another folder."
                ) from None
        # Also after the last refusal: the ports of a dying server become free a moment after its lock.
        await asyncio.sleep(POLL_SECONDS)
