"""Carries out a plan on a running deployment: lanes of strikes beside each other, and a broker restart.

The job must not end before the last strike, so the network's pace follows the plan's progress. A plan that
can't be carried out to its end is a failure, never a smaller campaign.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from confluent_kafka import ConsumerGroupState, KafkaException

from messaging import clients
from messaging.control import SinkPositions, StatusBoard
from messaging.names import SINK_KINDS, Names
from schemas.job_status import JobStatus
from tests.chaos.carried import Carried, Restart
from tests.chaos.orders import Note
from tests.chaos.pace import keep_pace
from tests.chaos.plan import Plan, Strike, drawn_anew
from tests.chaos.scene import JOB, Scene

_LOOK_SECONDS = 0.2
_POINT_PATIENCE = 90.0
"""After so long at a point that is not reached, another victim is drawn."""
_DRAWS = 4
_PATIENCE = 240.0
_RECOVERY_PATIENCE = 90.0
_END_PATIENCE = 900.0
_BROKER_WORK = 8
"""Accounts that are under way when the broker is killed, at the least."""
_HELD_BACK = 0.25
"""Of the accounts, this share is left for after the last strike."""


class CampaignFailed(Exception):
    """The plan could not be carried out, or its end was not reached."""


@dataclass
class Campaign:
    """Life: made, `run` once."""

    scene: Scene
    plan: Plan
    tell: Callable[[str], None]
    carried: list[Carried] = field(default_factory=list)
    restart: Restart | None = None
    status: JobStatus | None = None
    _struck: dict[int, Note] = field(default_factory=dict)
    _woke: dict[int, Note] = field(default_factory=dict)
    _decided: dict[int, Note] = field(default_factory=dict)
    _works: list[Note] = field(default_factory=list)
    _finished: bool = False
    _stopped: set[int] = field(default_factory=set)
    """Process ids that stand still."""

    async def run(self) -> JobStatus:
        """Everything from the job's start to the last row stored. Raises CampaignFailed."""
        await asyncio.to_thread(self.scene.submit)
        pace = keep_pace(self.scene.network, self._ahead)
        helpers = [asyncio.create_task(work) for work in (self._look(), self.scene.deployment.watch(), pace)]
        work = asyncio.create_task(self._to_the_end())
        try:
            await asyncio.wait([work, *helpers], return_when=asyncio.FIRST_COMPLETED)
            for helper in helpers:
                if helper.done():
                    helper.result()
            return await work
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        finally:
            self._let_go_on()
            for task in (work, *helpers):
                task.cancel()
            await asyncio.gather(work, *helpers, return_exceptions=True)

    async def _to_the_end(self) -> JobStatus:
        await self._until(lambda: self._terminal() > 0, "no account was done with")
        async with asyncio.TaskGroup() as lanes:
            for lane in self.plan.lanes.values():
                lanes.create_task(self._lane(lane))
            lanes.create_task(self._restart_broker())
        self.tell("every strike is carried out; the job runs free to its end")
        await self._until(lambda: self._final(), "the job did not end", _END_PATIENCE)
        await self._drained()
        self._match_works()
        self._finished = True
        assert self.status is not None
        return self.status

    # The strikes

    async def _lane(self, strikes: list[Strike]) -> None:
        for strike in strikes:
            done = await self._carry_out(strike)
            self.carried.append(done)
            total = len(self.plan.strikes)
            told = f"{len(self.carried):3} of {total}: {strike.what} {done.struck.name} {strike.point}"
            self.tell(f"{told} ({done.what_was_open})")
            if not strike.hasty:
                await self._recovered(done)

    async def _recovered(self, done: Carried) -> None:
        """Waits for the victim's place to be at work again; the report shows where that was not seen."""
        with suppress(CampaignFailed):
            await self._until(lambda: self._place_works(done) is not None, "", _RECOVERY_PATIENCE)

    async def _carry_out(self, strike: Strike) -> Carried:
        draws: list[str] = []
        while not await self._struck_down(strike):
            draws.append(strike.address)
            if self._final():
                raise CampaignFailed(f"the job ended before strike {strike.number}: {strike}")
            if len(draws) == _DRAWS:
                raise CampaignFailed(f"nobody reached {strike.point!r}: {', '.join(draws)}")
            self.tell(f"{strike.address} did not reach {strike.point!r} in time; drawn anew")
            strike = drawn_anew(strike, self.plan, len(draws))
        struck = self._struck[strike.number]
        if sum(struck.open.values()) == 0:
            raise CampaignFailed(f"strike {strike.number} hit {struck.name} with nothing open")
        done = Carried(strike, struck, draws)
        if strike.what == "stop":
            await self._outlast(done)
        return done

    async def _struck_down(self, strike: Strike) -> bool:
        """Gives the order and waits. False if the point is not reached in time: nobody has the order then."""

        def told() -> bool:
            return strike.number in self._struck

        self.scene.orders.give(strike)
        with suppress(CampaignFailed):
            await self._until(lambda: told() or self._final(), "", _POINT_PATIENCE)
        if not told() and self.scene.orders.withdraw(strike):
            return False
        await self._until(told, f"{strike} was taken and never told")
        return True

    async def _outlast(self, done: Carried) -> None:
        """Leaves a stopped process alone until others have its place, then lets it go on."""
        pid, name, number = done.struck.pid, done.struck.name, done.strike.number
        if self.scene.process(name).process.pid != pid:
            raise CampaignFailed(f"{name} is not the process {pid} that told of strike {number}")
        self._stopped.add(pid)
        await self._until_async(lambda: self._taken_over(done), f"nobody took over from {name}, which stands")
        os.kill(pid, signal.SIGCONT)
        self._stopped.discard(pid)
        process = self.scene.process(name).process

        def over() -> bool:
            return number in self._decided or not process.running or process.pid != pid

        await self._until(over, f"{name} neither committed nor ended after SIGCONT")
        await asyncio.sleep(2 * _LOOK_SECONDS)  # its last note may still be on the way
        done.stood_still = (
            self._woke[number].seconds if number in self._woke else time.time() - done.struck.at
        )
        told = self._decided.get(number)
        done.decided = told.how if told else "not made: it ended before"

    async def _taken_over(self, done: Carried) -> bool:
        """Whether the group has forgotten the victim and given away all that it held."""
        group, partitions = self._group(done.strike)
        admin = clients.admin(self.scene.settings.kafka)
        try:
            future = admin.describe_consumer_groups([group], request_timeout=10)[group]
            described = await asyncio.to_thread(future.result, 15)
        except (KafkaException, TimeoutError):
            return False  # the broker is away
        held = sum(len(member.assignment.topic_partitions) for member in described.members)
        here = any(member.member_id == done.struck.member for member in described.members)
        return not here and described.state == ConsumerGroupState.STABLE and held == partitions

    def _group(self, strike: Strike) -> tuple[str, int]:
        names, parts = Names(self.scene.settings.kafka.topic_prefix), self.scene.settings.kafka.partitions
        match strike.kind:
            case "worker":
                return names.worker_group, parts.dids
            case "producer":
                return names.planner_group, 1
            case "tracker":
                return names.tracker_group, parts.outcomes
            case "sink-parquet":
                return names.sink_group("parquet"), parts.records
            case "sink-dynamodb":
                return names.sink_group("dynamodb"), parts.records

    async def _restart_broker(self) -> None:
        def due() -> bool:
            return len(self.carried) >= self.plan.broker_restart_after and self._outstanding() >= _BROKER_WORK

        await self._until(lambda: due() or self._final(), "the broker could not be struck", _END_PATIENCE)
        if self._final():
            raise CampaignFailed("the job ended before the broker was restarted")
        behind = sum(number or 0 for number in await asyncio.to_thread(self._behind))
        after, outstanding = len(self.carried), self._outstanding()
        seconds = await self.scene.restart_broker()
        self.restart = Restart(after, outstanding, behind, seconds)
        self.tell(
            f"the broker was killed and is back after {seconds:.1f} s; {outstanding} accounts were open"
        )

    def _let_go_on(self) -> None:
        """Nobody may stand still at the end; of a campaign that failed, each process logs where it is."""
        for pid in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if self._finished:
            return
        for one in self.scene.running:
            if one.process.running and one.process.pid is not None:
                os.kill(one.process.pid, signal.SIGUSR1)

    # What is seen

    async def _look(self) -> None:
        """Keeps the status and the notes up to date."""
        board = await asyncio.to_thread(StatusBoard, self.scene.settings.kafka)
        while True:
            await asyncio.to_thread(board.refresh, _LOOK_SECONDS)
            self.status = board.of(JOB)
            for note in self.scene.orders.new_notes():
                if note.note == "works":
                    self._works.append(note)
                else:
                    {"struck": self._struck, "woke": self._woke, "decided": self._decided}[note.note][
                        note.strike
                    ] = note

    def _ahead(self) -> float | None:
        """How far the job is ahead of the plan, as a share of its accounts; None once nothing is to come."""
        done, total = len(self.carried), len(self.plan.strikes)
        if done == total and self.restart is not None:
            return None
        return self._terminal() / self.scene.size.accounts - (1 - _HELD_BACK) * (done + 1) / (total + 1)

    async def _drained(self) -> None:
        positions = SinkPositions(self.scene.settings.kafka)
        ends = await asyncio.to_thread(positions.ends)

        async def stored() -> bool:
            behind = await asyncio.to_thread(self._behind, ends)
            return all(number == 0 for number in behind)

        await self._until_async(stored, "the sinks did not store everything", _END_PATIENCE)

    def _behind(self, ends: dict[int, int] | None = None) -> list[int | None]:
        """Records that each kind of sink has still to store, up to `ends` or what is written now."""
        positions = SinkPositions(self.scene.settings.kafka)
        ends = ends or positions.ends()
        return [positions.behind(kind, ends) for kind in SINK_KINDS]

    def _place_works(self, done: Carried) -> Note | None:
        """The first commit that whoever took the victim's place made after being given it."""
        for note in self._works:
            given = note.at - note.seconds
            if note.address == done.strike.address and note.pid != done.struck.pid and given > done.struck.at:
                return note
        return None

    def _match_works(self) -> None:
        for done in self.carried:
            done.works = self._place_works(done)

    def _terminal(self) -> int:
        return self.status.totals.terminal if self.status else 0

    def _outstanding(self) -> int:
        return self.status.outstanding if self.status else 0

    def _final(self) -> bool:
        return self.status is not None and self.status.final

    async def _until(self, true: Callable[[], bool], otherwise: str, patience: float = _PATIENCE) -> None:
        async def ask() -> bool:
            return true()

        await self._until_async(ask, otherwise, patience)

    async def _until_async(
        self, true: Callable[[], Awaitable[bool]], otherwise: str, patience: float = _PATIENCE
    ) -> None:
        """Returns when it is true. Raises CampaignFailed, with the reason, after `patience` seconds."""
        deadline = time.monotonic() + patience
        while not await true():
            if time.monotonic() > deadline:
                raise CampaignFailed(f"{otherwise} within {patience:.0f} s; job: {self.status}")
            await asyncio.sleep(_LOOK_SECONDS)
