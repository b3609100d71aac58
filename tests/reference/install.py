"""Node packages for the reference servers: installed once from the lock file, shared by all sessions.

Node and npm are asked for, not skipped over: without these servers nobody but skyfill judges skyfill.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from schemas.errors import LocalServerError

HERE = Path(__file__).parent
MANIFEST = ("package.json", "package-lock.json", ".npmrc")
LEAST_NODE = 20
TAIL_CHARACTERS = 3000

logger = logging.getLogger(__name__)


def node_version(node: str = "node") -> str:
    """E.g. ``v20.20.2``. Raises LocalServerError without Node, without npm, or with an old one."""
    if shutil.which(node) is None or shutil.which("npm") is None:
        raise LocalServerError(
            f"The reference PLC and PDS need node and npm, version {LEAST_NODE} or newer. Install Node.js or "
            "leave these tests out with: pytest -m 'not reference'"
        )
    version = run([node, "--version"], HERE).strip()
    if int(version.removeprefix("v").partition(".")[0]) < LEAST_NODE:
        raise LocalServerError(
            f"The reference PLC and PDS need Node {LEAST_NODE} or newer; {node} is {version}."
        )
    return version


def install(cache: Path) -> Path:
    """The folder that holds ``node_modules``, made the first time (some minutes: SQLite is compiled).

    Keyed by the manifest and by Node's version, for which the native code is built. Raises LocalServerError.
    """
    key = hashlib.sha256(node_version().encode())
    for name in MANIFEST:
        key.update((HERE / name).read_bytes())
    folder = cache / "reference" / key.hexdigest()[:20]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            # Left by a session that was killed here; we hold the lock, so nobody is at work in them.
            for abandoned in folder.parent.glob("partial-*"):
                shutil.rmtree(abandoned, ignore_errors=True)
            logger.info("Installing the reference PLC and PDS (once, some minutes)…")
            with tempfile.TemporaryDirectory(prefix="partial-", dir=folder.parent) as partial:
                complete = Path(partial) / "complete"
                install_into(complete)
                complete.rename(folder)
    return folder


def install_into(folder: Path) -> None:
    """Install what the lock file names; only better-sqlite3, which has to be compiled, may run a script."""
    folder.mkdir()
    for name in MANIFEST:
        shutil.copy(HERE / name, folder)
    run(["npm", "ci", "--ignore-scripts"], folder)
    # npm 11 runs the scripts of a package only if "allowScripts" in package.json names it; npm 10 runs it.
    run(["npm", "rebuild", "better-sqlite3"], folder)
    # Does it load? npm's exit code doesn't tell.
    run(["node", "-e", "new (require('better-sqlite3'))(':memory:').close()"], folder)


def run(command: Sequence[str], folder: Path) -> str:
    """Run to the end; the standard output. Raises LocalServerError with the end of all output."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        output = (result.stdout + result.stderr)[-TAIL_CHARACTERS:]
        raise LocalServerError(f"{' '.join(command)} failed (exit code {result.returncode}):\n{output}")
    return result.stdout
