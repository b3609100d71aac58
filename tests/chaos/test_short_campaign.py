"""The chaos campaign in short, with every test run: each point once, a stop of each kind, a broker restart.

`make chaos` is the full one. The seed is drawn, printed, and replays the plan: see docs/chaos.md.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.plan import STOPPED, VICTIMS
from tests.chaos.scale import SHORT, run_campaign

SEED = "SKYFILL_TEST_SEED"


@pytest.mark.timeout(1200)
async def test_nothing_is_lost_or_doubled_while_everybody_is_struck(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", logger="skyfill.kafka")  # it has much to say about a broker that is killed
    seed = int(os.environ.get(SEED) or secrets.randbelow(10**6))
    print(f"seed {seed}; {SEED}={seed} draws the same plan again")
    report = await run_campaign(tmp_path, seed, SHORT, print)
    print(report.markdown())
    kills = Counter(done.strike.point for done in report.carried if done.strike.what == "kill")
    stops = Counter(done.strike.kind for done in report.carried if done.strike.what == "stop")
    assert kills == dict.fromkeys(VICTIMS, 1)
    assert stops == dict.fromkeys(STOPPED, 1)
    broken = [check for check in report.judgement.checks if not check.kept]
    assert not broken, report.markdown()
    assert (report.judgement.lost, report.judgement.doubled) == (0, 0)
