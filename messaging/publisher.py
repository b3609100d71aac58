"""Single messages published from an event loop, each awaited until the broker has it.

What may never break: a message that was not taken within the time given is not sent later by surprise.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from confluent_kafka import KafkaException

from messaging import clients
from messaging.partitioner import partition_for
from schemas.errors import DeploymentError
from schemas.settings import KafkaSettings

_SECONDS = 10.0
_POLL_SECONDS = 0.1
_CLOSE_SECONDS = 5.0


class Publisher:
    """Life: made in the event loop, `publish` as often as wanted, `close`. Its own thread waits for Kafka."""

    def __init__(self, kafka: KafkaSettings, *, seconds: float = _SECONDS) -> None:
        """`seconds`: so long the broker has time to take a message."""
        milliseconds = int(seconds * 1000)
        self._client = clients.producer(
            kafka,
            **{
                "message.timeout.ms": milliseconds,
                "request.timeout.ms": milliseconds,
                "socket.timeout.ms": milliseconds,
            },
        )
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="publisher", daemon=True)
        self._thread.start()

    async def publish(self, topic: str, key: str, value: bytes | None, partitions: int) -> int:
        """The message's offset, once all replicas that have to have it. `partitions` are the topic's.

        Raises DeploymentError if the broker did not take it. It may still be there where an answer of the
        broker was lost: whoever sends it again has to be sure that twice does no harm.
        """
        taken: asyncio.Future[int] = self._loop.create_future()

        def delivered(error: Any, message: Any) -> None:
            outcome = None if error else message.offset()
            self._loop.call_soon_threadsafe(_settle, taken, outcome, str(error))

        try:
            self._client.produce(
                topic, value, key.encode(), partition_for(key, partitions), on_delivery=delivered
            )
        except (KafkaException, BufferError) as error:
            raise DeploymentError(f"{topic}: the broker takes no messages: {error}") from error
        return await taken

    async def close(self) -> None:
        """Waits a little for what is under way."""
        await asyncio.to_thread(self._client.flush, _CLOSE_SECONDS)
        self._stop.set()
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._client.poll(_POLL_SECONDS)


def _settle(taken: asyncio.Future[int], offset: int | None, why: str) -> None:
    if taken.done():
        return
    if offset is None:
        taken.set_exception(DeploymentError(f"the broker did not take the message: {why}"))
    else:
        taken.set_result(offset)
