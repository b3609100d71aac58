"""Puts each fault into a copy of the tree and runs the tests that have to find it: `make mutants`.

    python -m tests.mutants [WORD…]      only the mutants whose name or file contains one of the words

Ends with 1 if a mutant survives. The tree itself is never touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
_PATIENCE_SECONDS = 900
_FAILED = 1
"""pytest's exit code for a test that failed."""


def copy_tree(target: Path) -> None:
    """What git knows or would take in, as it stands now."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source = ROOT / name
        if source.exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def run_tests(tests: tuple[str, ...], tree: Path) -> tuple[int, str]:
    """pytest's exit code and output; a run that does not end any more has failed."""
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _FAILED, "it did not end"
    return ended.returncode, ended.stdout.decode()[-2000:]


def judge(mutant: Mutant, tree: Path) -> str:
    """`found`, `SURVIVED`, or why the tests told nothing."""
    file = tree / mutant.file
    sound = file.read_text("utf-8")
    if sound.count(mutant.old) != 1:
        return "DOES NOT FIT THE CODE ANY MORE"
    file.write_text(sound.replace(mutant.old, mutant.new), "utf-8")
    try:
        code, output = run_tests(mutant.tests, tree)
    finally:
        file.write_text(sound, "utf-8")
    verdicts = {_FAILED: "found", 0: "SURVIVED"}
    return verdicts.get(code) or f"ITS TESTS DID NOT RUN:\n{output}"


def main(words: list[str]) -> int:
    """Runs the mutants; the exit code."""
    console = Console()
    chosen = [m for m in MUTANTS if not words or any(word in f"{m.name} {m.file}" for word in words)]
    if not chosen:
        console.print("No mutant has one of these words in its name or file.")
        return 1
    escaped, sound = 0, dict[tuple[str, ...], tuple[int, str]]()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_tree(tree)
        for number, mutant in enumerate(chosen, 1):
            began = time.monotonic()
            # Tests that fail anyway would find whatever one likes.
            if mutant.tests not in sound:
                sound[mutant.tests] = run_tests(mutant.tests, tree)
            code, output = sound[mutant.tests]
            verdict = f"ITS TESTS FAIL WITHOUT IT:\n{output}" if code else judge(mutant, tree)
            escaped += verdict != "found"
            seconds = time.monotonic() - began
            console.print(
                f"{number:3} of {len(chosen)}  {seconds:5.0f} s  {mutant.file}: {mutant.name}: {verdict}",
                highlight=False,
                soft_wrap=True,
            )
    console.print(f"{len(chosen) - escaped} of {len(chosen)} mutants were found.")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
