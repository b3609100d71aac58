"""The campaigns: the full one of `make chaos`, and the short one that runs with the tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.campaign import Campaign
from tests.chaos.judgement import judge
from tests.chaos.plan import DELAYS, draw
from tests.chaos.report import Report
from tests.chaos.scene import Size, scene


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    size: Size
    kills_per_point: int
    delays: Sequence[float]
    """A stop of each kind with each."""


FULL = Scale(Size(accounts=1000, records=310, hosts=24, workers=4, chunk=12), 5, DELAYS)
SHORT = Scale(Size(accounts=240, records=60, hosts=10, workers=2, chunk=6), 1, (0.2,))


async def run_campaign(folder: Path, seed: int, scale: Scale, tell: Callable[[str], None]) -> Report:
    """Draws the plan, carries it out and judges what came of it. Raises CampaignFailed, SkyfillError."""
    plan = draw(seed, workers=scale.size.workers, kills_per_point=scale.kills_per_point, delays=scale.delays)
    tell(f"{len(plan.strikes)} strikes and a restart of the broker; starting servers and processes")
    began, clock = time.time(), time.monotonic()
    async with scene(folder, scale.size, seed) as on:
        campaign = Campaign(on, plan, tell)
        status = await campaign.run()
        await on.deployment.stop()
        tell("everything is stored; comparing")
        judgement = await judge(on, plan, campaign.carried, status)
    assert campaign.restart is not None
    seconds = time.monotonic() - clock
    return Report(plan, scale.size, began, seconds, campaign.carried, campaign.restart, judgement)
