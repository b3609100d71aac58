"""Real HTTP servers on loopback, in the clear and with TLS, and names that lead to them."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from socket import AddressFamily

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Host:
    """A running server: where it is, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.port = 0
        self.requests: list[web.BaseRequest] = []

    @property
    def paths(self) -> list[str]:
        return [request.path_qs for request in self.requests]


@asynccontextmanager
async def serving(
    handler: Handler, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1"
) -> AsyncIterator[Host]:
    """Serve every request by ``handler``."""
    host = Host()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        host.requests.append(request)
        return await handler(request)  # type: ignore[arg-type]

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, address, 0, ssl_context=tls)
    await site.start()
    host.port = runner.addresses[0][1]
    inside = f"[{address}]" if ":" in address else address
    host.url = f"{'http' if tls is None else 'https'}://{inside}:{host.port}"
    try:
        yield host
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_bytes(answer: bytes, *, stall: bool = False) -> AsyncIterator[str]:
    """Serve these bytes to whoever asks, HTTP or not; then hang up, or with ``stall`` say nothing more."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if stall:
            await ended.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        ended.set()
        server.close()
        await server.wait_closed()


class Names(AbstractResolver):
    """Name resolution by a table: from a name to an address and a port that replaces the URL's, or to several
    of these, or to the error number of getaddrinfo."""

    def __init__(self, table: Mapping[str, tuple[str, int] | list[tuple[str, int]] | int]) -> None:
        self._table = table

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_INET
    ) -> list[ResolveResult]:
        found = self._table.get(host, socket.EAI_NONAME)
        if isinstance(found, int):
            raise OSError(found, "no address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=actual,
                family=AddressFamily.AF_INET6 if ":" in address else AddressFamily.AF_INET,
                proto=0,
                flags=0,
            )
            for address, actual in (found if isinstance(found, list) else [found])
        ]

    async def close(self) -> None:
        """Nothing is open."""


def tls_for(*names: str, folder: Path, days: float = 1) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's TLS context, of a certificate of its own for these names.

    It is valid for ``days`` from now on; negative: it has expired.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=100))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "certificate.pem", folder / "key.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(public, private)
    return server, ssl.create_default_context(cafile=str(public))
