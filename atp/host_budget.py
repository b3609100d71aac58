"""What one host allows: the budgets that it tells of and the one that it doesn't, as one set of books.

Pure: times are seconds since 1970. Every request counts against its kind's budget and against the hidden one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atp.advertised import AdvertisedBudgets, Room, Told
from atp.hidden import HiddenBudget, Sent
from schemas.hosts import HostState


@dataclass
class Ticket:
    """A request under way."""

    kind: str
    told: Told
    sent: Sent
    open: bool = True
    """No answer has come yet."""


class HostBudget:
    """Life of a request: `sent`; `answered` or `refused` by the head of its answer, or `lost` without one."""

    def __init__(
        self,
        spent: Callable[[float], None] = lambda share: None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        """`spent` is told of each window that ended: the share of its budget that was used; `refused` of
        each 429."""
        self._tell_refused = refused
        self._advertised = AdvertisedBudgets(spent)
        self._hidden = HiddenBudget(spent)
        self.requests = self.refusals = 0
        self.under_way = 0
        """Requests whose answer has not begun."""

    def ready_at(self, kind: str, now: float) -> float:
        """When a request of this kind may be sent; now or earlier: at once."""
        return max(self._advertised.ready_at(kind, now), self._hidden.ready_at(now))

    def room(self, kind: str, now: float) -> Room | None:
        """The tightest of the known budgets that a request of this kind counts against."""
        rooms = [*self._advertised.rooms(kind, now), *self._hidden.rooms(now)]
        return min(rooms, default=None)

    def sent(self, kind: str, now: float) -> Ticket:
        """A request goes out."""
        self.requests += 1
        self.under_way += 1
        return Ticket(kind, self._advertised.sent(kind), self._hidden.sent(now))

    def answered(self, ticket: Ticket, headers: Mapping[str, str], now: float) -> None:
        """The head of an answer that is not a 429. A second word on the same request says nothing new."""
        if self._close(ticket):
            self._advertised.answered(ticket.kind, ticket.told, headers, now)
            self._hidden.taken(ticket.sent, now)

    def refused(self, ticket: Ticket, headers: Mapping[str, str], pause: float | None, now: float) -> None:
        """A 429; `pause` in seconds is its Retry-After."""
        if not self._close(ticket):
            return
        self.refusals += 1
        self._tell_refused()
        if self._advertised.refused(ticket.kind, ticket.told, headers, pause or 0.0, now):
            self._hidden.lost(ticket.sent)
        else:
            self._hidden.refused(ticket.sent, now, pause)

    def lost(self, ticket: Ticket) -> None:
        """The request ended; without an answer, if none was told of."""
        if self._close(ticket):
            self._hidden.lost(ticket.sent)

    def restore(self, state: HostState) -> None:
        """Begins with what another worker, or an earlier life of this one, has learnt."""
        self._advertised.restore(state.buckets, exact=state.handed_over)
        if state.hidden:
            self._hidden.restore(state.hidden, exact=state.handed_over)

    def fields(self) -> dict[str, object]:
        """Its part of a `HostState`."""
        return {"buckets": self._advertised.state(), "hidden": self._hidden.state()}

    def _close(self, ticket: Ticket) -> bool:
        if ticket.open:
            ticket.open = False
            self.under_way -= 1
            self._advertised.over(ticket.kind)
            return True
        return False
