"""Budgets that a host tells of in RateLimit headers, and which kinds of requests share one.

A kind that was not seen yet is assumed to share every budget, and kinds are believed to share one until an
answer disproves it: what remains of a shared budget must have fallen since it was told to the other kind
before the request was sent. A refusal that the books can't explain puts all kinds together again.
Pure: times are seconds since 1970.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from schemas.hosts import BucketState

LONGEST_PAUSE = 3600.0
"""No host may stop a job for longer than this at once, whatever it says."""
LOOK_SECONDS = 1.0
"""When something waits for an answer that is under way, it is looked at again after this."""
_EPOCH_LIKE = 10**8
"""A reset above this is seconds since 1970, below it seconds from now."""
_USUAL_WINDOW = 300.0
_SAME_RESET = 2.0
"""Resets are told in whole seconds, so those of one window may differ by this."""
_POLICY_WINDOW = re.compile(r";\s*w=(\d{1,9})\b")


@dataclass(frozen=True)
class Window:
    """What a host said of its present window."""

    limit: int
    remaining: int
    reset_at: float
    """By our clock."""
    mark: float
    """The same by the host's clock, if it told: it tells windows apart, however late the answers come."""
    seconds: float | None = None
    guessed: bool = False
    """What remains is not what the host said: the next answer knows better."""

    def is_the_same(self, other: Window) -> bool:
        """Whether both may be of one window of one budget."""
        return self.limit == other.limit and abs(self.mark - other.mark) < _SAME_RESET


class Room(NamedTuple):
    """What may still be sent of a budget of `limit` before its window ends, by our clock."""

    left: int
    ends: float
    limit: int


Told = Mapping[str, Window]
"""What the host had said last to each kind of request, when one was sent."""


class AdvertisedBudgets:
    """Life of a request: `sent`, then `answered` or `refused` where an answer came, and `over`."""

    def __init__(self, spent: Callable[[float], None] = lambda share: None) -> None:
        """`spent` is told of each window that ended: the share of its budget that was used."""
        self._windows: dict[str, Window] = {}
        self._apart: set[frozenset[str]] = set()
        """Pairs of kinds that were seen not to share a budget."""
        self._groups: list[list[str]] = []
        """Kinds by budget: each stands with all that it is not known to be apart from."""
        self._unanswered: Counter[str] = Counter()
        self._spent = spent

    def ready_at(self, kind: str, now: float) -> float:
        """When a request of this kind may be sent; 0: now."""
        ready = 0.0
        for group in self._groups:
            if kind in self._windows and kind not in group:
                continue
            window = self._window_of(group)
            running = window.reset_at > now
            left = window.remaining if running else max(1, window.limit)
            if left <= self._under_way(group):
                ready = max(ready, window.reset_at if running else 0.0, now + LOOK_SECONDS)
        return ready

    def rooms(self, kind: str, now: float) -> Iterator[Room]:
        """What is left of each window that a request of this kind may count against."""
        for group in self._groups:
            if kind in group or kind not in self._windows:
                window = self._window_of(group)
                running = window.reset_at > now
                left = (window.remaining if running else window.limit) - self._under_way(group)
                ends = window.reset_at if running else now + (window.seconds or _USUAL_WINDOW)
                yield Room(left, ends, window.limit)

    def sent(self, kind: str) -> Told:
        """A request goes out; what it returns is to be given back with the answer."""
        self._unanswered[kind] += 1
        return self._windows.copy()

    def over(self, kind: str) -> None:
        """A request has its answer, or failed without one."""
        self._unanswered[kind] -= 1

    def answered(self, kind: str, told: Told, headers: Mapping[str, str], now: float) -> None:
        """The head of an answer came."""
        window = read_window(headers, now)
        if window is not None:
            self._enter(kind, told, window, now)

    def refused(self, kind: str, told: Told, headers: Mapping[str, str], pause: float, now: float) -> bool:
        """The same for a 429 that asks for a pause of so many seconds (0: it does not say).

        False where a spent budget does not explain it: then another limit was met.
        """
        window = read_window(headers, now)
        if window is None or window.remaining > 0:
            return False
        known = [told[each] for each in (*self._mates(kind), kind) if each in told]
        if known and all(before.is_the_same(window) and before.remaining > 0 for before in known):
            self._apart.clear()  # more counts against this budget than was believed
            self._regroup()
        self._enter(kind, told, window, now)
        mine = self._windows[kind]
        if mine.is_the_same(window):
            reset_at = max(mine.reset_at, now + min(pause, LONGEST_PAUSE))
            self._windows[kind] = replace(mine, reset_at=reset_at)
        return True

    def state(self) -> list[BucketState]:
        """The books, for the topic `hosts`."""
        windows = [(group, self._window_of(group)) for group in self._groups]
        return [
            BucketState(
                kinds=group,
                limit=window.limit,
                remaining=window.remaining,
                window_seconds=window.seconds,
                resets_at=datetime.fromtimestamp(window.reset_at, UTC),
                reset_mark=window.mark,
            )
            for group, window in windows
        ]

    def restore(self, states: Sequence[BucketState], *, exact: bool) -> None:
        """Begins with these books. Not `exact`: more was spent since, so one request goes ahead and asks."""
        for state in states:
            window = Window(
                state.limit,
                state.remaining if exact else min(1, state.remaining),
                state.resets_at.timestamp(),
                state.reset_mark,
                state.window_seconds,
                guessed=not exact,
            )
            self._apart |= {frozenset((kind, other)) for kind in state.kinds for other in self._windows}
            self._windows |= dict.fromkeys(state.kinds, window)
        self._regroup()

    def _enter(self, kind: str, told: Told, window: Window, now: float) -> None:
        before = self._apart.copy()
        for mate in self._mates(kind):
            if self._are_apart(self._windows[mate], told.get(mate), window, now):
                self._apart.add(frozenset((kind, mate)))
        if self._apart != before or kind not in self._windows:
            self._windows[kind] = self._windows.get(kind, window)
            self._regroup()
        known = self._window_of([*self._mates(kind), kind])
        if not _is_late(window, known) and not known.is_the_same(window):
            self._spent(1 - known.remaining / known.limit if known.limit else 1.0)
        self._windows[kind] = _newer(self._windows[kind], window)

    def _mates(self, kind: str) -> list[str]:
        """The kinds that are believed to share its budget, without itself."""
        group = next((group for group in self._groups if kind in group), list(self._windows))
        return [mate for mate in group if mate != kind]

    def _are_apart(self, known: Window, before: Window | None, window: Window, now: float) -> bool:
        """Whether an answer can't be of the budget that another kind's last one, `known`, was of; `before`:
        that one's when the request was sent."""
        if known.guessed or known.reset_at <= now + _SAME_RESET or _is_late(window, known):
            return False  # its window is over: what is said now tells nothing of that one
        if not known.is_the_same(window):
            return True
        return before is not None and before.is_the_same(window) and window.remaining >= before.remaining

    def _regroup(self) -> None:
        groups: list[list[str]] = []
        for kind in sorted(self._windows):
            home = (g for g in groups if not any(frozenset((kind, mate)) in self._apart for mate in g))
            if group := next(home, None):
                group.append(kind)
            else:
                groups.append([kind])
        self._groups = groups

    def _window_of(self, group: Sequence[str]) -> Window:
        """The newest window that the host told these kinds of, and the least that it said remains."""
        newest = max((self._windows[kind] for kind in group), key=lambda window: window.mark)
        same = [self._windows[kind] for kind in group if self._windows[kind].is_the_same(newest)]
        if len(same) == 1:
            return newest
        told = [window for window in same if not window.guessed] or same
        return replace(newest, remaining=min(window.remaining for window in told))

    def _under_way(self, group: Sequence[str]) -> int:
        return sum(
            count for kind, count in self._unanswered.items() if kind in group or kind not in self._windows
        )


def _newer(old: Window, new: Window) -> Window:
    """What a kind knows after one more answer."""
    if _is_late(new, old):
        return old
    if not old.is_the_same(new):
        return new
    # An answer may be overtaken by another; the quicker ones know best when the window ends.
    remaining = new.remaining if old.guessed else min(new.remaining, old.remaining)
    return replace(new, remaining=remaining, reset_at=min(new.reset_at, old.reset_at))


def _is_late(window: Window, known: Window) -> bool:
    """Whether an answer is of a window before the known one."""
    return window.limit == known.limit and window.mark < known.mark - _SAME_RESET


def read_window(headers: Mapping[str, str], now: float) -> Window | None:
    """The window that RateLimit headers tell of; None where they don't, or make no sense."""
    limit = _number(headers.get("RateLimit-Limit"))
    remaining = _number(headers.get("RateLimit-Remaining"))
    reset = _number(headers.get("RateLimit-Reset"))
    if limit is None or remaining is None or reset is None:
        return None
    mark = reset
    if reset < _EPOCH_LIKE:
        mark = now + min(max(0.0, reset), LONGEST_PAUSE)
    else:
        # The host's clock may differ from ours: what counts is the time from its Date on. Both are cut to
        # whole seconds, so the window may end up to one later.
        reset = reset - (_http_date(headers.get("Date")) or now) + 1
    policy = _POLICY_WINDOW.search(headers.get("RateLimit-Policy", ""))
    return Window(
        max(0, int(limit)),
        max(0, int(remaining)),
        now + min(max(0.0, reset), LONGEST_PAUSE),
        mark,
        float(policy[1]) if policy else None,
    )


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _http_date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None
