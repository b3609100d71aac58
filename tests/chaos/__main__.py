"""The chaos campaign: `make chaos`, or `make chaos SEED=7` for a plan seen before.

    python -m tests.chaos [--seed N] [--short] [--out FOLDER]

Ends with 1 if a record was lost or doubled, a count was wrong, or the plan could not be carried out.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
from pathlib import Path

from rich.console import Console

from cli.logs import log_to_file
from cli.signals import Interrupted, run_until_signal
from schemas.errors import SkyfillError
from schemas.settings import Settings
from tests.chaos.campaign import CampaignFailed
from tests.chaos.scale import FULL, SHORT, run_campaign

_MARK = ".chaos"
_WIDTH = 200


def main(words: list[str]) -> int:
    """Runs one campaign; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="The chaos campaign.")
    parser.add_argument("--seed", type=int, help="The plan's seed; drawn if absent.")
    parser.add_argument("--short", action="store_true", help="The version that the tests run.")
    parser.add_argument("--out", type=Path, default=Path("chaos-output"), help="Folder for everything.")
    chosen = parser.parse_args(words)
    seed = secrets.randbelow(10**6) if chosen.seed is None else chosen.seed
    # Where no terminal says how wide it is, the tables still need room.
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)
    console.print(f"seed {seed}; `make chaos SEED={seed}` draws the same plan again")
    try:
        folder = _empty_folder(chosen.out / f"seed-{seed}")
    except FileExistsError as error:
        console.print(str(error))
        return 1
    log_to_file(Settings(data_dir=folder), folder / "campaign.log")
    size = SHORT if chosen.short else FULL
    try:
        report = run_until_signal(run_campaign(folder.resolve(), seed, size, console.print), "Stopped.")
    except (CampaignFailed, SkyfillError) as error:
        console.print(
            f"chaos FAILED: seed {seed}: {error}\nThe processes' logs are in {folder / 'data' / 'logs'}"
        )
        return 1
    except Interrupted as interrupted:
        console.print(str(interrupted))
        return interrupted.code
    (folder / "report.md").write_text(report.markdown(), "utf-8")
    report.show(console)
    console.print(f"The report is in {folder / 'report.md'}")
    return 0 if report.judgement.passed else 1


def _empty_folder(folder: Path) -> Path:
    """Made anew; only what an earlier campaign left there is removed. Raises FileExistsError."""
    if folder.exists():
        if not (folder / _MARK).exists():
            raise FileExistsError(f"{folder} holds other things than a campaign's; name another with --out")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
    return folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
