"""One origin of the simulated network on a loopback port of its own.

Applies the faults of the wire (rate limits, slowness, 5xx, cut bodies, outages) around a service's
answer, and enters every request into the ledger, however it ends.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from functools import partial

from aiohttp import web

from local.network.accounts import Population
from local.network.active import ActiveFaults
from local.network.answer import Answer, Service, xrpc_error
from local.network.buckets import Buckets
from local.network.faults import (
    CutShort,
    HiddenLimit,
    Host,
    Odd,
    RateLimited,
    ServerError,
    Slow,
    Stalled,
)
from local.network.ledger import Ending, Ledger, Request
from local.network.oddities import ODDITIES, Ask

CHUNK = 64 * 1024
LOOK_SECONDS = 0.05
FILLERS = 4
"""Connections that more than fill a queue of length 0."""


class HostServer:
    """Serves one ``Service`` at ``origin``. ``name`` is how faults and the ledger call it.

    The port is taken by ``reserve`` and kept through outages: nobody else can get it meanwhile.
    """

    def __init__(
        self,
        name: Host,
        population: Population,
        faults: ActiveFaults,
        ledger: Ledger,
        clock: Callable[[], float],
        *,
        port: int = 0,
    ) -> None:
        self.name = name
        self._label = host_label(name)
        self._population = population
        self._faults = faults
        self._ledger = ledger
        self._buckets, self._clock = Buckets(clock), clock
        self._port = port
        self._runner: web.AppRunner | None = None
        self._socket: socket.socket | None = None
        self._fillers: list[socket.socket] = []

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:port``; known after ``reserve``."""
        return f"http://127.0.0.1:{self._port}"

    def reserve(self) -> None:
        """Take the port without listening: connections are refused. OSError if it is taken."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", self._port))
        self._port = self._socket.getsockname()[1]

    async def up(self, service: Service) -> None:
        """Serve on the reserved port. Nothing happens if the host is up."""
        if self._runner is not None or self._socket is None:
            return
        self._let_in()
        app = web.Application()
        app.router.add_get("/{path:.*}", partial(self._respond, service))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0, handler_cancellation=True)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    async def down(self, *, silent: bool = False) -> None:
        """Reset the open connections and refuse new ones, or leave these without an answer. Nothing happens
        if the host is down."""
        if self._runner is not None:
            await self._hang_up(self._runner)
            self.reserve()
        if silent and self._socket is not None:
            self._shut_out(self._socket)

    def _shut_out(self, listening: socket.socket) -> None:
        """Fill the queue of a socket that nobody accepts from: what connects later waits without an end."""
        listening.listen(0)
        for _ in range(FILLERS):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self._port))
            self._fillers.append(filler)

    def _let_in(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    async def close(self) -> None:
        """Free the port."""
        self._let_in()
        if self._runner is not None:
            await self._hang_up(self._runner)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _hang_up(self, runner: web.AppRunner) -> None:
        self._runner = None
        connections = runner.server.connections if runner.server is not None else []
        for connection in connections:
            if connection.transport is not None:
                _reset(connection.transport)
        await runner.cleanup()

    async def _respond(self, service: Service, request: web.Request) -> web.StreamResponse:
        since = self._ledger.arrived(self._label)
        did = _did_of(request)
        delivery = _Delivery(request, formatdate(self._clock(), usegmt=True))
        try:
            await self._answer(service, request, did, delivery)
        except ConnectionError:
            delivery.ending = "client_gone"
        except asyncio.CancelledError:
            # Either side may have ended it: the host by going down, or the client by going away.
            delivery.ending = "client_gone" if self._runner is not None else "cut"
            raise
        finally:
            self._ledger.answered(since, delivery.entry(self._label, did))
        return delivery.response

    async def _answer(
        self, service: Service, request: web.Request, did: str | None, delivery: _Delivery
    ) -> None:
        refused, headers = self._limit(request)
        if refused is not None:
            await delivery.send(refused, headers)
            return
        number = self._account_number(did)
        slow = self._fault(Slow, number, request.path)
        if isinstance(slow, Slow) and self._faults.strikes(slow):
            await self._linger(slow, slow.seconds)
        stalled = self._fault(Stalled, number, request.path)
        if isinstance(stalled, Stalled) and self._faults.strikes(stalled):
            if stalled.at == "head":
                await self._linger(stalled)
            else:
                delivery.stalls = partial(self._linger, stalled), stalled.at == "trickle"
        broken = self._fault(ServerError, number, request.path)
        if isinstance(broken, ServerError) and self._faults.strikes(broken):
            error = xrpc_error("InternalServerError", "Internal Server Error", status=broken.status)
            await delivery.send(error, headers)
            return
        answer = await service.answer(request.path, request.query)
        odd = self._fault(Odd, number, request.path)
        if isinstance(odd, Odd) and self._faults.strikes(odd):
            await delivery.send_odd(odd.answer, answer)
            return
        cut = self._fault(CutShort, number, request.path)
        if isinstance(cut, CutShort) and answer.status == 200 and self._faults.strikes(cut):
            await delivery.send_half(answer, headers)
            return
        await delivery.send(answer, headers)

    async def _linger(self, fault: Slow | Stalled, seconds: float = math.inf) -> None:
        """Until the time is over, or the fault withdrawn."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        while (left := ends - loop.time()) > 0 and self._faults.in_force(fault):  # noqa: ASYNC110
            await asyncio.sleep(min(left, LOOK_SECONDS))

    def _limit(self, request: web.Request) -> tuple[Answer | None, Mapping[str, str]]:
        """A 429 if a budget is spent, and the headers to send with whatever is answered."""
        client = request.remote or ""
        hidden = self._faults.of_host(self.name, HiddenLimit)
        if hidden is not None:
            allowed, told = self._buckets.spend_hidden(hidden, client)
            if not allowed:
                return Answer(429, b"", "text/plain"), told
        limited = self._faults.of_host(self.name, RateLimited)
        if limited is None:
            return None, {}
        allowed, headers = self._buckets.spend(limited, client, request.path.removeprefix("/xrpc/"))
        if allowed:
            return None, headers
        return xrpc_error("RateLimitExceeded", "Rate Limit Exceeded", status=429), headers

    def _fault(
        self,
        kind: type[Slow] | type[Stalled] | type[CutShort] | type[ServerError] | type[Odd],
        number: int | None,
        path: str,
    ) -> Slow | Stalled | CutShort | ServerError | Odd | None:
        """The fault of this kind on the request's account (on PDSs only), else on the host."""
        method = path.rpartition(".")[2]
        if number is not None and isinstance(self.name, int):
            fault = self._faults.of_account(number, kind)
            if fault is not None and fault.method in (None, method):
                return fault
        fault = self._faults.of_host(self.name, kind)
        return fault if fault is not None and fault.method in (None, method) else None

    def _account_number(self, did: str | None) -> int | None:
        account = self._population.find(did) if did is not None else None
        return account.number if account is not None else None


class _Delivery:
    """Sends one answer and knows what became of it."""

    def __init__(self, request: web.Request, date: str) -> None:
        """`date` is the answer's Date: that of the network's clock, as all that it tells of times."""
        self._request, self._date = request, date
        self.response = web.StreamResponse()
        self.ending: Ending = "complete"
        self.stalls: tuple[Callable[..., Awaitable[None]], bool] | None = None
        """Waits until a stall is over, or so many seconds; and whether a byte gets through each second."""
        self._status = 0
        self._sent = 0

    async def send(self, answer: Answer, headers: Mapping[str, str]) -> None:
        await self._begin(answer, headers)
        await self._write(await self._stall(answer.body))
        if answer.lines is not None:
            async for line in answer.lines:
                await self._write(line)
        await self.response.write_eof()

    async def _stall(self, body: bytes) -> bytes:
        """Sends what gets through a stall; what is left when it is over."""
        if self.stalls is None:
            return body
        wait, trickles = self.stalls
        if not trickles:
            half = len(body) // 2
            await self._write(body[:half])
            await wait()
            return body[half:]
        for place in range(len(body)):
            began = asyncio.get_running_loop().time()
            await self._write(body[place : place + 1])
            await wait(1.0)
            if asyncio.get_running_loop().time() < began + 1.0 - LOOK_SECONDS:
                return body[place + 1 :]
        return b""

    async def send_half(self, answer: Answer, headers: Mapping[str, str]) -> None:
        """Send the first half of the body, then reset the connection."""
        await self._begin(answer, headers)
        await self._write(answer.body[: len(answer.body) // 2])
        await asyncio.sleep(0.01)  # let the half reach the wire: a reset throws away what is unsent
        if self._request.transport is not None:
            _reset(self._request.transport)
        self.ending = "cut"

    async def send_odd(self, name: str, honest: Answer) -> None:
        """Write what the table of oddities says, past all that would put it into form; then close."""
        wire, transport = ODDITIES[name].answer, self._request.transport
        if wire is None or transport is None:
            raise ConnectionError
        self.ending = "cut"
        async for piece in wire(Ask(self._request.path_qs, honest.body)):
            if transport.is_closing():
                raise ConnectionError
            transport.write(piece)
            self._sent += len(piece)
        transport.close()  # once all is written

    def entry(self, host: str, did: str | None) -> Request:
        """The ledger's line, without its times."""
        request = self._request
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        return Request(
            time=0.0,
            host=host,
            method="did" if request.path.startswith("/did:") else request.path.removeprefix("/xrpc/"),
            did=did,
            status=self._status,
            bytes=self._sent,
            seconds=0.0,
            ending=self.ending,
            user_agent=request.headers.get("User-Agent", ""),
            port=peer[1] if peer else 0,
            path=request.path_qs,
        )

    async def _begin(self, answer: Answer, headers: Mapping[str, str]) -> None:
        self._status = answer.status
        response = web.StreamResponse(status=answer.status, headers={**answer.headers, **headers})
        response.headers["Content-Type"] = answer.content_type
        response.headers["Date"] = self._date
        if answer.chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = len(answer.body)
        self.response = response
        await response.prepare(self._request)

    async def _write(self, body: bytes) -> None:
        view = memoryview(body)
        for start in range(0, len(view), CHUNK):
            chunk = view[start : start + CHUNK]
            await self.response.write(chunk)
            self._sent += len(chunk)


def host_label(name: Host) -> str:
    """How the ledger calls a host: ``pds0``, ``pds1``, ..., ``plc`` or ``relay``."""
    return f"pds{name}" if isinstance(name, int) else name


def _did_of(request: web.Request) -> str | None:
    """The account that a request is about, as it names it: a parameter, or the path at PLC."""
    named = request.query.get("did") or request.query.get("repo")
    if named is None and request.path.startswith("/did:"):
        named = request.path[1:]
    return named


def _reset(transport: asyncio.BaseTransport) -> None:
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
