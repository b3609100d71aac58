"""The faults in force, and how often each has struck.

Faults can be injected and withdrawn while the network runs. One fault object counts its own strikes: a
fault that strikes the first n requests strikes exactly n.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

from local.network.faults import (
    Changing,
    Corrupted,
    CutShort,
    Fault,
    Host,
    Moved,
    Odd,
    RotatedKey,
    ServerError,
    Slow,
    Stalled,
)

F = TypeVar("F", bound=Fault)
Counted = Corrupted | Changing | Slow | Stalled | CutShort | ServerError | Odd


class ActiveFaults:
    """All faults in force, by the account or host they concern."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._accounts: defaultdict[int, list[Fault]] = defaultdict(list)
        self._hosts: defaultdict[Host, list[Fault]] = defaultdict(list)
        self._strikes: Counter[Fault] = Counter()
        for fault in faults:
            self.inject(fault)

    def inject(self, fault: Fault) -> None:
        """Put a fault in force, with its count at zero."""
        self._strikes.pop(fault, None)
        self._place(fault).append(fault)

    def withdraw(self, fault: Fault) -> None:
        """End a fault; ValueError if it isn't in force."""
        self._place(fault).remove(fault)

    def in_force(self, fault: Fault) -> bool:
        """Whether the fault was injected and not withdrawn."""
        return fault in self._place(fault)

    def __iter__(self) -> Iterator[Fault]:
        for faults in (*self._hosts.values(), *self._accounts.values()):
            yield from faults

    def of_account(self, number: int, kind: type[F]) -> F | None:
        """The account's first fault of this kind, if any."""
        return next((f for f in self._accounts.get(number, ()) if isinstance(f, kind)), None)

    def of_host(self, host: Host, kind: type[F]) -> F | None:
        """The host's first fault of this kind, if any."""
        return next((f for f in self._hosts.get(host, ()) if isinstance(f, kind)), None)

    def strikes(self, fault: Counted | None) -> bool:
        """Whether the fault strikes this request; counts the strike."""
        return fault is not None and self._spend(fault, fault.first)

    def answers_stale(self, fault: Moved | RotatedKey) -> bool:
        """Whether PLC still gives its old answer about the account; counts the answer."""
        return self._spend(fault, fault.stale_answers)

    def _spend(self, fault: Fault, limit: int | None) -> bool:
        if limit is not None and self._strikes[fault] >= limit:
            return False
        self._strikes[fault] += 1
        return True

    def _place(self, fault: Fault) -> list[Fault]:
        account: int | None = getattr(fault, "account", None)
        if account is not None:
            return self._accounts[account]
        host: Host = fault.host  # type: ignore[union-attr, assignment]
        return self._hosts[host]
