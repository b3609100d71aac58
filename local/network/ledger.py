"""Every request the network answered, and how.

It is the judge of limits, retries and double work: its counts are exact for the network's whole life; of
the single requests it keeps the newest ones only.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

Ending = Literal["complete", "cut", "client_gone"]


class Request(NamedTuple):
    """One answered request. ``time`` is its arrival in epoch seconds; ``bytes`` is of the body sent."""

    time: float
    host: str
    method: str
    did: str | None
    status: int
    bytes: int
    seconds: float
    ending: Ending
    user_agent: str
    port: int
    path: str


class Ledger:
    """Counts and remembers requests. ``keep`` bounds the requests remembered one by one."""

    def __init__(self, clock: Callable[[], float], *, keep: int = 200_000) -> None:
        self._clock = clock
        self._recent: deque[Request] = deque(maxlen=keep)
        self._by_host: Counter[tuple[str, str, int, Ending]] = Counter()
        self._by_did: Counter[tuple[str, str, int, Ending]] = Counter()
        self._bytes: Counter[str] = Counter()
        self._in_flight: Counter[str] = Counter()
        self._most_in_flight: defaultdict[str, int] = defaultdict(int)

    def arrived(self, host: str) -> float:
        """A request came in; returns the time to give to ``answered``."""
        self._in_flight[host] += 1
        self._most_in_flight[host] = max(self._most_in_flight[host], self._in_flight[host])
        return self._clock()

    def answered(self, since: float, request: Request) -> None:
        """The request that arrived at ``since`` is over; its times are filled in here."""
        self._in_flight[request.host] -= 1
        request = request._replace(time=since, seconds=self._clock() - since)
        self._recent.append(request)
        self._bytes[request.host] += request.bytes
        self._by_host[request.host, request.method, request.status, request.ending] += 1
        if request.did is not None:
            self._by_did[request.did, request.method, request.status, request.ending] += 1

    def count(
        self,
        *,
        host: str | None = None,
        did: str | None = None,
        method: str | None = None,
        status: int | None = None,
        ending: Ending | None = None,
    ) -> int:
        """How many requests match, over the whole life. Ask by host or by DID, not by both."""
        if host is not None and did is not None:
            raise TypeError("counts are kept by host or by DID, not by both")
        counts, wanted = (self._by_did, did) if did is not None else (self._by_host, host)
        pattern = (wanted, method, status, ending)
        return sum(
            n
            for key, n in counts.items()
            if all(want is None or want == have for want, have in zip(pattern, key, strict=True))
        )

    def requests(self, *, host: str | None = None, did: str | None = None) -> Iterator[Request]:
        """The remembered requests in the order they were answered."""
        for request in self._recent:
            if host in (None, request.host) and did in (None, request.did):
                yield request

    def bytes_sent(self, host: str) -> int:
        """Bytes of all bodies sent by a host."""
        return self._bytes[host]

    def in_flight(self, host: str) -> int:
        """The requests that are open on a host now."""
        return self._in_flight[host]

    def most_in_flight(self, host: str) -> int:
        """The most requests that were open at once on a host."""
        return self._most_in_flight[host]

    def busiest(self, host: str, seconds: float = 1.0) -> int:
        """The most requests that arrived within any ``seconds``, of those remembered."""
        times = sorted(request.time for request in self.requests(host=host))
        most = first = 0
        for last, time in enumerate(times):
            while times[first] <= time - seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def export(self, *, requests: bool = True) -> dict[str, Any]:
        """The whole ledger as JSON."""
        hosts = {
            host: {"bytes": self._bytes[host], "in_flight": self._in_flight[host], "most_in_flight": most}
            for host, most in self._most_in_flight.items()
        }
        fields = ("host", "method", "status", "ending")
        counts = [{**dict(zip(fields, k, strict=True)), "count": n} for k, n in self._by_host.items()]
        recent = [request._asdict() for request in self._recent] if requests else []
        return {"hosts": hosts, "counts": counts, "requests": recent}
