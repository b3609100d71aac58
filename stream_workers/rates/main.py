"""The rates process. It ends cleanly on SIGTERM and SIGINT, and with a reason logged where it can't go on."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket

from faust.types.auth import CredentialsT

from messaging import clients
from messaging.crash import end_process, end_with
from messaging.names import Names
from messaging.rewind import rewind
from messaging.topics import check_topics, topics
from schemas.errors import ConfigError
from schemas.settings import RatesSettings, Settings
from stream_workers.rates.app import RatesApp
from stream_workers.rates.security import credentials
from stream_workers.rates.windows import LONGEST

_HOST = "127.0.0.1"
_PORTS_TRIED = 100
_LAST_PORT = 65_535
_STOP_SECONDS = 10.0
_MOST_AGAIN = 400_000
"""Outcomes that a start reads again at most, over all partitions: half a minute of work."""
_log = logging.getLogger("skyfill.rates")


def run_rates(settings: Settings) -> None:
    """Counts and publishes until SIGTERM or SIGINT. Ends the process itself, in any case."""
    try:
        login = credentials(settings.kafka.client)  # refused before it is tried
        port = free_port(settings.rates)
        _begin_an_hour_back(settings)
        asyncio.run(_run(settings, login, port))
    except Exception as error:
        end_with(error)


def free_port(rates: RatesSettings) -> int | None:
    """The first free port of loopback from the configured one on; None: no web views are wanted.

    Raises ConfigError if all are taken.
    """
    if rates.port is None:
        return None
    for port in range(rates.port, min(_LAST_PORT, rates.port + _PORTS_TRIED) + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise ConfigError(
        f"no port from {rates.port} on is free for the rates' web views; set SKYFILL_RATES__PORT, or to null "
        f"for none"
    )


def _begin_an_hour_back(settings: Settings) -> None:
    """`outcomes` itself is the memory of a process that ended: its longest window is read again."""
    kafka = settings.kafka
    names, admin = Names(kafka.topic_prefix), clients.admin(kafka)
    check_topics(admin, topics(kafka))
    places = rewind(
        admin,
        names.rates_group,
        names.outcomes,
        seconds=LONGEST,
        most=_MOST_AGAIN // kafka.partitions.outcomes,
        patience=kafka.session_timeout_seconds + 2,  # a killed predecessor is a member for so long
    )
    if places is None:
        _log.info("another rates process is at work; sharing its partitions, without what it has counted")


async def _run(settings: Settings, login: CredentialsT | None, port: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = RatesApp(settings, login, port).app
    await app.wait_first(app.start(), stop.wait())
    if not (stop.is_set() or app.crashed):
        if port is not None:
            _log.info("rates of all jobs: http://%s:%d/rates/", _HOST, port)
        await app.wait_for_stopped(stop.wait())
    if app.crashed:
        end_process(f"Faust has crashed: {app.crash_reason!r}")
    try:
        await asyncio.wait_for(app.stop(), _STOP_SECONDS)
    except TimeoutError:
        _log.warning("Faust did not stop within %.0f s; leaving all the same", _STOP_SECONDS)
        logging.shutdown()
        os._exit(0)
