"""The broker that the settings name, asked before anything is started on it.

A run may neither wait for a broker that is not there, nor take the slots of processes that are at work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from confluent_kafka import KafkaException

from messaging import clients
from messaging.groups import groups_at_work
from schemas.errors import DeploymentError
from schemas.settings import KafkaSettings

_LIBRDKAFKA = "skyfill.kafka"
_ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 0.5
_MARGIN_SECONDS = 5.0


class _Heard(logging.Handler):
    """librdkafka says the reason of a failure only in its log."""

    def __init__(self) -> None:
        super().__init__()
        self.reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the end of the last `FAIL` line: what comes after the name of the thread and the broker."""
        text = record.getMessage()
        if text.startswith("FAIL "):
            self.reason = text.rsplit("]: ", 1)[-1].split(" (after ")[0]


def require_answer(kafka: KafkaSettings) -> None:
    """Returns if the broker answers within ten seconds. Raises DeploymentError with the reason if not."""
    heard = _Heard()
    log = logging.getLogger(_LIBRDKAFKA)
    log.addHandler(heard)
    client = clients.admin(kafka)
    try:
        client.list_topics(timeout=_ANSWER_SECONDS)
    except KafkaException as error:
        client.poll(0.1)
        raise DeploymentError(
            f"no Kafka broker answers at {kafka.bootstrap_servers} ({heard.reason or error.args[0].str()}); "
            f"see that it runs, and to SKYFILL_KAFKA__BOOTSTRAP_SERVERS and SKYFILL_KAFKA__CLIENT"
        ) from error
    finally:
        log.removeHandler(heard)


def require_idle(kafka: KafkaSettings, groups: Iterable[str]) -> None:
    """Returns once none of these groups has members: those of a killed run are soon forgotten.

    Raises DeploymentError if processes are at work, whose slots ours would take.
    """
    client = clients.admin(kafka)
    deadline = time.monotonic() + kafka.session_timeout_seconds + _MARGIN_SECONDS
    while True:
        try:
            busy = groups_at_work(client, groups, patience=_ANSWER_SECONDS)
            trouble = (
                f"other processes are at work on {kafka.bootstrap_servers} (groups {', '.join(busy)}), and "
                f"those of this run would take their places. Give them the job with `skyfill start`, or "
                f"choose another SKYFILL_KAFKA__TOPIC_PREFIX, or a SKYFILL_WORKER_SLOT that nobody has"
            )
        except KafkaException as error:
            busy, why = [""], error.args[0]
            trouble = f"the broker does not tell who is at work on it: {why.str() or why.name()}"
        if not busy:
            return
        if time.monotonic() > deadline:
            raise DeploymentError(trouble)
        time.sleep(_LOOK_SECONDS)
