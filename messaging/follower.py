"""Topics that an event loop answers from: read by one consumer in one thread, kept by the loop.

What may never break: what was read belongs to the event loop alone, so that nobody who answers from it needs
a lock; and `read_up_to_now` returns only when all that was committed before the question is there.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from messaging import clients
from messaging.polling import PASSING, Delivered, Polled, poll
from messaging.topics import check_topics, end_offsets, topics
from schemas.errors import DeploymentError
from schemas.settings import KafkaSettings

Place = tuple[str, int]
"""Topic and partition."""
_AT_ONCE = 1000
_POLL_SECONDS = 0.1
_ASK_SECONDS = 4.0
_AGAIN_SECONDS = 0.1
_START_SECONDS = 120.0
_log = logging.getLogger("skyfill.follower")


class Kept(Protocol):
    """What is kept of one topic."""

    @property
    def topic(self) -> str:
        """Its name."""

    def begin(self, admin: AdminClient) -> Mapping[int, int]:
        """Offsets to begin at, by partition; absent: the beginning. Called once, in a thread."""

    def decode(self, message: Delivered) -> Any:
        """What is to be kept of a message. Called in the reading thread: it touches nothing."""

    def keep(self, message: Delivered, decoded: Any) -> None:
        """Called in the event loop, in the topic's order."""


class Follower:
    """Life: made, `start`, `read_up_to_now` before each answer, `stop`; all of it in one event loop."""

    def __init__(self, kafka: KafkaSettings, kept: Iterable[Kept]) -> None:
        """Connects in `start`."""
        self._kafka = kafka
        self._kept = {one.topic: one for one in kept}
        self._positions: dict[Place, int] = {}
        self._waiting: list[tuple[Mapping[Place, int], asyncio.Future[None]]] = []
        self._asking: asyncio.Task[dict[Place, int]] | None = None
        self._next: asyncio.Task[dict[Place, int]] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Returns once all is read that is there now. Raises TopicMismatch and DeploymentError."""
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        ends = await asyncio.to_thread(self._connect)
        self._thread = threading.Thread(target=self._read, name="follower", daemon=True)
        self._thread.start()
        await self._until(ends, _START_SECONDS)

    async def read_up_to_now(self, patience: float) -> None:
        """Returns once all is read that was committed when this was called.

        Several calls at once are one question to the broker. DeploymentError after `patience` seconds.
        """
        if self._failed.done():
            self._failed.result()
        try:
            async with asyncio.timeout(patience):
                ends = await self._ends()
        except TimeoutError:
            raise DeploymentError("the broker does not answer") from None
        await self._until(ends, patience)

    async def fail(self) -> None:
        """Raises, once it happens, what has made reading impossible; to be cancelled."""
        await asyncio.shield(self._failed)

    def position(self, topic: str, partition: int) -> int:
        """The offset behind the last message that was kept."""
        return self._positions[topic, partition]

    async def read_beyond(self, topic: str, partition: int, offset: int, patience: float) -> None:
        """Returns once the message at this offset is kept. DeploymentError after `patience` seconds."""
        await self._until({(topic, partition): offset + 1}, patience)

    async def stop(self) -> None:
        """Leaves the topics."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            await asyncio.to_thread(self._consumer.close)
        if self._failed.done():
            self._failed.exception()  # somebody has looked at it, as far as asyncio is concerned

    def _connect(self) -> dict[Place, int]:
        """The ends that `start` waits for."""
        self._admin = clients.admin(self._kafka)
        wanted = [topic for topic in topics(self._kafka) if topic.name in self._kept]
        check_topics(self._admin, wanted)
        self._consumer = clients.reader(self._kafka)
        ends: dict[Place, int] = {}
        for topic in wanted:
            begins = self._kept[topic.name].begin(self._admin)
            for partition, end in end_offsets(self._admin, topic.name, range(topic.partitions)).items():
                self._positions[topic.name, partition] = begins.get(partition, 0)
                ends[topic.name, partition] = end
        self._consumer.assign([TopicPartition(t, p, at) for (t, p), at in self._positions.items()])
        return ends

    def _read(self) -> None:
        """The thread. Waits for one message, then takes what else is there: batches would wait to be full."""
        try:
            while not self._stop.is_set():
                first = poll(self._consumer, 1, _POLL_SECONDS)
                if any(first):
                    self._hand_over([first, poll(self._consumer, _AT_ONCE, 0.0)])
        except (DeploymentError, KafkaException) as error:
            self._tell(error)
        except Exception as error:
            _log.exception("reading failed")
            self._tell(error)

    def _hand_over(self, polled: Sequence[Polled]) -> None:
        """Returns once the event loop has them: what waits for it stays bounded."""
        messages = [message for one in polled for message in one.messages]
        decoded = [(message, self._kept[message.topic].decode(message)) for message in messages]
        ends = {place: end for one in polled for place, end in one.ends.items()}
        kept = threading.Event()
        self._call(self._keep, decoded, ends, kept)
        while not kept.wait(_POLL_SECONDS) and not self._stop.is_set():
            pass

    def _tell(self, error: Exception) -> None:
        self._call(lambda: None if self._failed.done() else self._failed.set_exception(error))

    def _call(self, function: Any, *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: nobody asks any more
            self._stop.set()

    def _keep(
        self, decoded: list[tuple[Delivered, Any]], ends: dict[Place, int], kept: threading.Event
    ) -> None:
        for message, value in decoded:
            self._kept[message.topic].keep(message, value)
            self._positions[message.topic, message.partition] = message.offset + 1
        for place, end in ends.items():
            self._positions[place] = max(self._positions[place], end)
        kept.set()
        still = []
        for wanted, reached in self._waiting:
            if reached.done():
                continue
            if self._behind(wanted):
                still.append((wanted, reached))
            else:
                reached.set_result(None)
        self._waiting = still

    def _behind(self, wanted: Mapping[Place, int]) -> list[Place]:
        return [place for place, end in wanted.items() if self._positions[place] < end]

    async def _until(self, wanted: Mapping[Place, int], patience: float) -> None:
        if not self._behind(wanted):
            return
        reached: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((wanted, reached))
        done, _ = await asyncio.wait(
            [reached, self._failed], timeout=patience, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            reached.cancel()
            behind = sorted({topic for topic, _ in self._behind(wanted)})
            raise DeploymentError(f"{', '.join(behind)} can't be read to the end at present")
        if self._failed in done:
            self._failed.result()

    async def _ends(self) -> dict[Place, int]:
        """Asked after this call: who comes while a question is under way shares the one that follows it."""
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._asking))
            self._next.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        return await asyncio.shield(self._next)

    async def _ask_after(self, before: asyncio.Task[dict[Place, int]] | None) -> dict[Place, int]:
        if before is not None:
            await asyncio.wait([before])
        self._asking, self._next = self._next, None
        until = self._loop.time() + _ASK_SECONDS
        while True:
            try:
                return await self._ask()
            except KafkaException as error:
                if error.args[0].code() not in PASSING or self._loop.time() > until:
                    raise DeploymentError(f"the broker does not answer: {error.args[0].str()}") from error
            # A client goes on by the leaders and epochs that it knows, minutes after there are new ones.
            await asyncio.sleep(_AGAIN_SECONDS)
            self._admin = clients.admin(self._kafka)

    async def _ask(self) -> dict[Place, int]:
        request = {TopicPartition(topic, p): OffsetSpec.latest() for topic, p in self._positions}
        futures = self._admin.list_offsets(
            request, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_ASK_SECONDS
        )
        found = await asyncio.gather(*(asyncio.wrap_future(future) for future in futures.values()))
        return {(at.topic, at.partition): result.offset for at, result in zip(futures, found, strict=True)}
