"""Starts a planner from settings alone: what `skyfill producer` and `skyfill produce` call."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

from atp.identity import Resolver
from atp.plc_mirror import PlcMirror, open_mirror
from atp.xrpc import Client
from messaging import clients
from messaging.exposition import expose
from messaging.instruments import ResolverMetrics
from messaging.metrics import new_registry
from messaging.topics import check_offset_retention, check_topics, topics
from producers.metrics import PlannerMetrics
from producers.planner import Planner, open_publisher
from schemas.errors import SourceError
from schemas.settings import NetworkSettings, Settings


def run_planner(
    settings: Settings,
    stop: threading.Event,
    *,
    only_job: str | None = None,
    until_planned: bool = False,
) -> None:
    """Plans in this thread until `stop` is set; with `until_planned`, until the plan is finished.

    `only_job` plans no other job, though commands about all of them are followed. Raises SourceError, with
    `until_planned` and `only_job`, if that job was refused or its source failed; DeploymentError where the
    broker is not as it has to be. Ends the process when another planner took its place.
    """
    admin = clients.admin(settings.kafka)
    check_topics(admin, topics(settings.kafka))
    check_offset_retention(admin, settings.kafka)
    registry = new_registry()
    metrics, resolving = PlannerMetrics(registry), ResolverMetrics(registry)
    network = settings.network
    mirror = open_mirror(settings.plc_mirror, network.plc_url, required=network.plc_mirror is not None)
    with asyncio.Runner() as runner, expose(settings, "producer", registry):
        client, resolver = runner.run(new_resolver(network, metrics, resolving, mirror))
        planner = Planner(
            settings,
            resolver,
            runner,
            admin,
            client=client,
            only_job=only_job,
            new_publisher=partial(open_publisher, metrics=metrics.transactions.of("main")),
            metrics=metrics,
        )
        try:
            planner.run(stop, until_planned=until_planned)
        finally:
            planner.close()
            runner.run(client.close())
            if mirror:
                mirror.close()
        if until_planned and only_job in planner.failures:
            raise SourceError(f"job {only_job}: {planner.failures[only_job]}")


async def new_resolver(
    network: NetworkSettings,
    metrics: PlannerMetrics,
    resolving: ResolverMetrics | None = None,
    mirror: PlcMirror | None = None,
) -> tuple[Client, Resolver]:
    """What asks the network, and what resolves accounts by it; the client is to be closed."""
    resolving = resolving or ResolverMetrics()
    if mirror:
        resolving.watch(mirror.age)
    client = Client(
        user_agent=network.user_agent,
        allow_private_hosts=network.allow_private_hosts,
        observer=metrics.http,
    )
    resolver = Resolver(
        client,
        plc_url=network.plc_url,
        handle_host=network.handle_url,
        concurrency=network.plc_concurrency,
        mirror=mirror,
        observer=resolving,
    )
    return client, resolver
