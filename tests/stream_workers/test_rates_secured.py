"""The rates process and a broker that asks for TLS and a password: one kafka.client for all processes."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from local.kafka import NODE_ID, EmbeddedKafka
from local.ports import HOST, choose_ports
from schemas.outcomes import RepoOutcome
from schemas.rates import JobRates
from tests.conftest import TEST_BROKER_SETTINGS
from tests.stream_workers.deployment import Deployment

LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


def certify(folder: Path) -> tuple[Path, Path]:
    """What the broker shows (key and certificate), and the certificate alone, that clients trust."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    begin = datetime.now(UTC) - timedelta(hours=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "broker.pem").write_bytes(private + public)
    (folder / "authority.pem").write_bytes(public)
    return folder / "broker.pem", folder / "authority.pem"


@asynccontextmanager
async def secured_broker(folder: Path) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """A broker that takes `me` with the password `secret` over TLS: its address, and the clients' options."""
    shown, authority = certify(folder)
    ports = choose_ports(["plain", "secure", "controller"], {})
    plain, secure, controller = (f"{HOST}:{ports[name]}" for name in ("plain", "secure", "controller"))
    broker = EmbeddedKafka(
        folder / "kafka",
        port=ports["plain"],
        heap_mb=384,
        overrides=TEST_BROKER_SETTINGS
        | {
            "listeners": f"BROKER://{plain},SECURE://{secure},CONTROLLER://{controller}",
            "advertised.listeners": f"BROKER://{plain},SECURE://{secure}",
            "controller.quorum.voters": f"{NODE_ID}@{controller}",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
            "listener.name.secure.ssl.keystore.type": "PEM",
            "listener.name.secure.ssl.keystore.location": str(shown),
            "listener.name.secure.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secure.plain.sasl.jaas.config": f'{LOGIN} required user_me="secret";',
        },
    )
    await broker.start()
    try:
        yield (
            secure,
            {
                "security.protocol": "sasl_ssl",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "me",
                "sasl.password": "secret",
                "ssl.ca.location": str(authority),
            },
        )
    finally:
        await broker.stop()


async def test_rates_over_tls_with_a_password(prefix: str, tmp_path: Path) -> None:
    async with secured_broker(tmp_path) as (address, client):
        deployment = await asyncio.to_thread(
            Deployment,
            address,
            prefix,
            tmp_path / "data",
            "http://127.0.0.1:1",
            KAFKA__CLIENT=json.dumps(client),
            RATES__PORT="null",
        )
        try:
            outcome = RepoOutcome(job_id="job", did="did:plc:a", host="https://a.test", status="completed")
            deployment.publish(deployment.names.outcomes, "job", outcome.encode())
            process = deployment.start("rates")

            async def told() -> bool:
                found = await deployment.read(deployment.names.rates)
                return any(JobRates.decode(m.value or b"").windows[2].repositories == 1 for m in found)

            await deployment.until(told, "rates")
            assert await process.terminate() == 0

            unknown = json.dumps(client | {"ssl.sigalgs.list": "ECDSA+SHA256"})
            refused = deployment.start("rates", KAFKA__CLIENT=unknown)
            assert await refused.ended() == 1
            assert re.search(r"can't follow kafka\.client's ssl\.sigalgs\.list", refused.log.read_text())
        finally:
            await deployment.close()
