"""The topic `hosts`, read and written: hints from one owner of a host to the next."""

from __future__ import annotations

import logging

from messaging import clients
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.views import CompactedView
from schemas.errors import DeploymentError
from schemas.hosts import HostState
from schemas.settings import KafkaSettings

_log = logging.getLogger("skyfill.fetch")
_FLUSH_SECONDS = 5.0
_PATIENCE = 5.0


class HostBoard:
    """`refresh` is for the consumer's thread, `known` and `write` for any."""

    def __init__(self, kafka: KafkaSettings, names: Names) -> None:
        """Reads the topic to its end. Raises DeploymentError where that is not to be had."""
        self._topic, self._partitions = names.hosts, kafka.partitions.dids
        self._view = CompactedView(kafka, names.hosts, HostState.decode)
        self._view.catch_up()
        self._producer = clients.producer(kafka)
        self._met: set[str] = set()

    def known(self, origin: str) -> HostState | None:
        """What the last owner of the host wrote."""
        return self._view.items.get(origin)

    def refresh(self, origins: set[str]) -> None:
        """Takes in what is new; reads to the end where one of these hosts is met for the first time."""
        try:
            if origins <= self._met:
                self._view.poll()
            else:
                self._view.catch_up(_PATIENCE)
        except DeploymentError as error:
            _log.warning("hosts are met without what is known of them: %s", error)
        self._met |= origins

    def write(self, state: HostState) -> None:
        """A hint: where it can't be written now, the next one may be."""
        key = state.origin
        try:
            self._producer.produce(
                self._topic, state.encode(), key.encode(), partition_for(key, self._partitions)
            )
            self._producer.poll(0)
        except BufferError:
            _log.debug("the state of %s was not written: the queue is full", key)

    def forget(self, origins: set[str]) -> None:
        """These hosts go to another worker; when they come back, the topic is read anew."""
        self._met -= origins

    def flush(self) -> None:
        """Waits a moment for what was written last to arrive."""
        self._producer.flush(_FLUSH_SECONDS)

    def close(self) -> None:
        """Leaves the topic."""
        self._view.close()
