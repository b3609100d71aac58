"""Starts a planner from settings alone: what `skyfill producer` and `skyfill produce` call."""

from __future__ import annotations

import asyncio
import threading

from atp.identity import Resolver
from atp.xrpc import Client
from messaging import clients
from messaging.topics import check_offset_retention, check_topics, topics
from producers.planner import Planner
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
    with asyncio.Runner() as runner:
        client, resolver = runner.run(_resolver(settings.network))
        planner = Planner(settings, resolver, runner, admin, only_job=only_job)
        try:
            planner.run(stop, until_planned=until_planned)
        finally:
            planner.close()
            runner.run(client.close())
        if until_planned and only_job in planner.failures:
            raise SourceError(f"job {only_job}: {planner.failures[only_job]}")


async def _resolver(network: NetworkSettings) -> tuple[Client, Resolver]:
    client = Client(user_agent=network.user_agent, allow_private_hosts=network.allow_private_hosts)
    resolver = Resolver(
        client,
        plc_url=network.plc_url,
        handle_host=network.handle_url,
        concurrency=network.plc_concurrency,
    )
    return client, resolver
