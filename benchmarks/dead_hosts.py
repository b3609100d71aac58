"""What dead hosts cost the others: one worker, healthy hosts alone and then beside dead ones, 30 % of all.

They fail in every way there is. Timeouts are a tenth of the usual, as the run is short.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from benchmarks.figures import Figures
from benchmarks.measure import Meter
from benchmarks.stage import Scene, Stage
from local.network.faults import Fault, HostDown, Stalled
from local.network.keys import did_key
from local.network.network import Network
from local.process import ChildProcess
from messaging import clients
from messaging.polling import poll
from schemas.dids import DidTask
from schemas.job_specs import JobSpec
from schemas.outcomes import RepoOutcome, decode_outcome
from schemas.settings import WorkerSettings

HEALTHY, DEAD = 14, 6
_RATE = 10
"""Requests a second to one host: this is the bound, not the machine."""
_SECONDS = 20
"""How long the healthy hosts take at that rate, with everything at its best."""
_SILENCE, _CONNECT, _TOTAL = 3.0, 1.0, 30.0
_FAULTS: tuple[Fault, ...] = (
    HostDown(HEALTHY),
    HostDown(HEALTHY + 1, silent=True),
    HostDown(HEALTHY + 2, silent=True),
    Stalled(host=HEALTHY + 3, at="head"),
    Stalled(host=HEALTHY + 4, at="body"),
    Stalled(host=HEALTHY + 5, at="trickle"),
)


def measure(stage: Stage) -> tuple[Figures, dict[str, Any]]:
    """Figures an account of the healthy hosts. Raises LocalServerError if these do not all come in."""
    share = max(2, round(_SECONDS * _RATE * stage.repositories.count / 1000))
    scene = stage.scene("dead_hosts")
    worker_settings = WorkerSettings(silence_seconds=_SILENCE, connect_seconds=_CONNECT)
    scene.settings = scene.settings.model_copy(update={"worker": worker_settings})
    with (
        _network((HEALTHY + DEAD) * share) as network,
        scene.process("worker", "worker", "--slot", "0") as worker,
    ):
        scene.await_rest(worker, scene.names.worker_group, scene.names.dids)
        outcomes = _Outcomes(scene)
        # Once around, so that both runs begin with hosts that have proven themselves.
        outcomes.run("warm", network, range(HEALTHY), worker)
        healthy = [n for n in range((HEALTHY + DEAD) * share) if n % (HEALTHY + DEAD) < HEALTHY]
        alone = Meter({"worker": worker.pid})
        outcomes.run("alone", network, healthy, worker)
        alone_seconds = alone.read().wall_seconds
        meter = Meter({"worker": worker.pid, "broker": stage.broker.pid})
        everyone = range((HEALTHY + DEAD) * share)
        outcomes.run("beside", network, everyone, worker, awaited=len(healthy))
        reading = meter.read()
        outcomes.close()
    figures = Figures("account", len(healthy), reading, ("worker",))
    return figures, {
        "alone_accounts_per_second": len(healthy) / alone_seconds,
        "share_kept": alone_seconds / reading.wall_seconds,
    }


class _Outcomes:
    """Publishes a job and waits until enough of its accounts are completed."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._reader: Consumer = clients.reader(scene.kafka)
        topic = scene.names.outcomes
        self._reader.assign([TopicPartition(topic, p, 0) for p in range(scene.partitions[topic])])

    def run(
        self,
        job: str,
        network: Network,
        accounts: Sequence[int],
        worker: ChildProcess,
        *,
        awaited: int | None = None,
    ) -> None:
        scene, wanted = self._scene, len(accounts) if awaited is None else awaited
        spec = JobSpec.model_validate(
            {
                "job_id": job,
                "submitted_at": datetime.now(UTC),
                "backfill": {
                    "source": {"type": "inline", "dids": ["did:plc:unused"]},
                    "storage": {"type": "parquet", "path": "unused"},
                    "processing": {
                        "requests_per_second": _RATE,
                        "max_concurrent_pds": HEALTHY,
                        "timeout_seconds": _TOTAL,
                    },
                },
            }
        )
        scene.publish(scene.names.job_specs, [(job, spec)])
        scene.publish(scene.names.dids, [_task(job, network, number) for number in accounts])
        done = 0

        def enough() -> bool:
            nonlocal done
            for message in poll(self._reader, 1000, 0).messages:
                outcome = decode_outcome(message.value or b"")
                if isinstance(outcome, RepoOutcome) and outcome.job_id == job:
                    done += outcome.status == "completed"
            return done >= wanted

        scene.until(enough, f"{wanted} accounts of {job}", [worker])

    def close(self) -> None:
        self._reader.close()


def _task(job: str, network: Network, number: int) -> tuple[str, DidTask]:
    account = network.account(number)
    origin = network.hosts[account.host]
    return origin, DidTask(job_id=job, did=account.did, pds=origin, signing_key=did_key(account.key()))


@contextmanager
def _network(accounts: int) -> Iterator[Network]:
    """The simulated network in a thread of its own, until the block ends."""
    network = Network(seed=7, accounts=accounts, hosts=HEALTHY + DEAD, records=20, faults=_FAULTS)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="network", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(network.start(), loop).result()
        asyncio.run_coroutine_threadsafe(network.warm(), loop).result()
        yield network
    finally:
        asyncio.run_coroutine_threadsafe(network.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
