"""The rates of all jobs as last published. Approximate figures for display: a message that can't be read is
passed over, and what is old counts as not known, never as zero."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta

from confluent_kafka import TopicPartition
from pydantic import ValidationError

from messaging import clients
from messaging.names import Names
from messaging.polling import Delivered, poll
from messaging.rewind import places_since
from schemas.rates import JobRates
from schemas.settings import KafkaSettings

STALE_SECONDS = 60.0
"""The rates process tells of every job more often than that."""
_MOST_BACK = 5000
"""Messages of a partition that are read of the time before, at most."""
_CATCH_UP_SECONDS = 10.0
_log = logging.getLogger("skyfill.rates")


class RatesBoard:
    """Life: made, `refresh` now and then, `close`. For one thread."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Begins with the last minute: what is older would not be shown."""
        topic = Names(kafka.topic_prefix).rates
        places = places_since(clients.admin(kafka), topic, STALE_SECONDS, _MOST_BACK)
        self._consumer = clients.reader(kafka)
        self._consumer.assign([TopicPartition(topic, at, offset) for at, offset in places.items()])
        self._unread = set(places)
        """Partitions that were not read to their end yet."""
        self._empty = not places
        self._latest: dict[str, JobRates] = {}
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while self._unread and time.monotonic() < deadline:
            self.refresh(0.1)

    def refresh(self, timeout: float = 0.0) -> None:
        """Takes in what has come, waiting up to `timeout` seconds for something."""
        while not self._empty and any(polled := poll(self._consumer, 1000, timeout)):
            for message in polled.messages:
                self._take(message)
            self._unread -= {partition for _, partition in polled.ends}
            timeout = 0.0
        oldest = datetime.now(UTC) - timedelta(seconds=STALE_SECONDS)
        self._latest = {job: rates for job, rates in self._latest.items() if rates.updated_at >= oldest}

    def of(self, job_id: str) -> JobRates | None:
        """A job's rates as of the last `refresh`; None if none were told within the last minute."""
        return self._latest.get(job_id)

    def all(self) -> list[JobRates]:
        """The rates of every job that was told of within the last minute."""
        return list(self._latest.values())

    def close(self) -> None:
        """Leaves the topic."""
        self._consumer.close()

    def _take(self, message: Delivered) -> None:
        try:
            self._latest[message.key] = JobRates.decode(message.value or b"")
        except ValidationError:
            _log.debug("%s [%d] offset %d are no rates", message.topic, message.partition, message.offset)
