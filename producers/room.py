"""How much new work the workers can still take in: what lies beyond their windows is read by nobody yet.

Tasks of a small job that end up behind a window's end wait for whatever fills it, so large jobs may not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from messaging.names import Names
from messaging.topics import committed_offsets, end_offsets
from schemas.errors import DeploymentError

_log = logging.getLogger("skyfill.planner")
_LOOK_SECONDS = 1.0


class Room:
    """Ask `is_left` before a large job gets more tasks; say what was `taken` by any."""

    def __init__(
        self,
        admin: AdminClient,
        names: Names,
        partitions: int,
        most: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`partitions` is the count of `dids`; `most` is how many offsets one may reach beyond the workers'
        commit."""
        self._admin, self._names = admin, names
        self._partitions, self._most = range(partitions), most
        self._monotonic = monotonic
        self._again_at = float("-inf")
        self._reach = float("inf")
        """Of the partition that reaches furthest, at the most."""

    def taken(self, tasks: int) -> None:
        """So many were published, perhaps all to one partition."""
        self._reach += tasks

    def is_left(self) -> bool:
        """Whether no partition reaches too far. The broker is asked only where that may be, and not again
        within a second where it is."""
        if self._reach > self._most and (now := self._monotonic()) >= self._again_at:
            self._again_at = now + _LOOK_SECONDS
            try:
                self._reach = self._furthest()
            except (KafkaException, DeploymentError) as error:
                _log.warning("large jobs wait, as nobody can say how far the workers are: %s", error)
            else:
                if self._reach <= self._most:
                    self._again_at = now
        return self._reach <= self._most

    def _furthest(self) -> float:
        topic = self._names.dids
        done = committed_offsets(self._admin, self._names.worker_group, topic, self._partitions)
        ends = end_offsets(self._admin, topic, self._partitions)
        return max(end - done.get(partition, 0) for partition, end in ends.items())
