"""A process that ends or stands still where it is ordered to, and says what lay open there.

An order is taken only at a point that is reached with work open, so no strike can hit an idle process.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition

from messaging.membership import Membership
from tests.chaos.orders import Order, Orders, noted
from tests.chaos.plan import Point

Open = dict[str, int]
"""How much lies open, by what it is."""


class Victim:
    """This process. Its points may be reached from any thread; an order is taken once."""

    def __init__(self, name: str, address: str, orders: Orders) -> None:
        self.name, self.address, self._orders = name, address, orders
        self._membership: Membership | None = None
        self._assigned_at = 0.0
        self._has_told = True

    @property
    def kind(self) -> str:
        """What sort of process this is."""
        return self.name.rpartition("-")[0]

    def reach(self, point: Point, what_is_open: Callable[[], Open], ready: Callable[[], object]) -> None:
        """A point with work open: the end, if that was ordered. `ready` brings about what the point means."""
        order = self.ordered(point)
        if order is not None:
            ready()
            self.tell_struck(order, what_is_open())
            die()

    def ordered(self, point: Point) -> Order | None:
        """Takes the order that is there for this point."""
        return self._orders.take(self.address, point, self.name)

    def tell_struck(self, order: Order, what_is_open: Open) -> None:
        """The last words before a strike."""
        member = self._membership.memberid() if self._membership else ""
        self._note("struck", strike=order.strike, open=what_is_open, member=member)

    def commit(self, what_is_open: Callable[[], Open], commit: Callable[[], bool]) -> bool:
        """A commit with work open, before which the process may have to stand still.

        `commit` returns False where it has to be tried again.
        """
        order = self.ordered(Point.AT_COMMIT)
        if order is None:
            return commit()
        self.tell_struck(order, what_is_open())
        since = time.monotonic()
        # To this very thread, so that it is the one that gets no further.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        self._note("woke", strike=order.strike, seconds=time.monotonic() - since)
        time.sleep(order.delay)
        try:
            done = commit()
        except BaseException as error:
            self._note("decided", strike=order.strike, how=f"refused ({error})")
            raise
        self._note("decided", strike=order.strike, how="accepted" if done else "refused (rebalancing)")
        return done

    def committed(self) -> None:
        """Work was committed; tells it the first time after each assignment."""
        if not self._has_told:
            self._has_told = True
            self._note("works", seconds=time.time() - self._assigned_at)

    def watch_group(self) -> None:
        """Puts a look-out around the process's membership."""
        original = Membership._on_assign

        def assigned(member: Membership, consumer: Consumer, partitions: list[TopicPartition]) -> None:
            self._membership = member
            original(member, consumer, partitions)
            if partitions:
                self._assigned_at, self._has_told = time.time(), False

        put_in_place(Membership, "_on_assign", assigned)

    def _note(self, note: str, **details: object) -> None:
        self._orders.note(noted(note, self.name, self.address, **details))


def die() -> None:
    """The end, without any clean-up."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # nobody gets any further, whichever thread the kernel tells first


def put_in_place(owner: type, method: str, armed: object) -> None:
    """Puts an armed method in the place of the real one, which it calls."""
    setattr(owner, method, armed)
