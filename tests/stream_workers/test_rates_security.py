"""kafka.client in the words of Faust: TLS and SASL as librdkafka has them, and nothing ignored in silence."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from faust import SASLCredentials
from faust.auth import SSLCredentials
from faust.types.auth import AuthProtocol, SASLMechanism

from schemas.errors import ConfigError
from stream_workers.rates.security import credentials


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key, locked with `secret`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker.test")])
    begin = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return public, private


@pytest.mark.parametrize("client", [{}, {"socket.timeout.ms": 9, "debug": "all", "client.id": "a"}])
def test_without_security_there_are_no_credentials(client: dict[str, object]) -> None:
    assert credentials(client) is None


@pytest.mark.parametrize("key", ["sasl.mechanism", "sasl.mechanisms"])
@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("PLAIN", SASLMechanism.PLAIN),
        ("SCRAM-SHA-256", SASLMechanism.SCRAM_SHA_256),
        ("scram-sha-512", SASLMechanism.SCRAM_SHA_512),
    ],
)
def test_sasl_over_tls(key: str, said: str, meant: SASLMechanism) -> None:
    client = {"security.protocol": "SASL_SSL", key: said, "sasl.username": "me", "sasl.password": "x"}
    made = credentials(client)
    assert isinstance(made, SASLCredentials)
    assert (made.protocol, made.mechanism) == (AuthProtocol.SASL_SSL, meant)
    assert (made.username, made.password) == ("me", "x")
    assert made.ssl_context is not None
    assert (made.ssl_context.check_hostname, made.ssl_context.verify_mode) == (True, ssl.CERT_REQUIRED)


def test_sasl_without_tls() -> None:
    client = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN", "sasl.username": "me"}
    made = credentials(client)
    assert isinstance(made, SASLCredentials)
    assert (made.protocol, made.ssl_context) == (AuthProtocol.SASL_PLAINTEXT, None)


def test_tls_with_own_authority_and_certificate(certificate: tuple[Path, Path]) -> None:
    public, private = map(str, certificate)
    client = {
        "security.protocol": "ssl",
        "ssl.ca.location": public,
        "ssl.certificate.location": public,
        "ssl.key.location": private,
        "ssl.key.password": "secret",
    }
    made = credentials(client)
    assert isinstance(made, SSLCredentials)
    assert [dict(*one["subject"])["commonName"] for one in made.context.get_ca_certs()] == ["broker.test"]
    with pytest.raises(ConfigError, match="certificates can't be used"):
        credentials(client | {"ssl.key.password": "wrong"})
    with pytest.raises(ConfigError, match="certificates can't be used"):
        credentials(client | {"ssl.ca.location": f"{public}.missing"})


@pytest.mark.parametrize(
    ("change", "named", "verified"),
    [
        ({"ssl.endpoint.identification.algorithm": "none"}, False, ssl.CERT_REQUIRED),
        ({"enable.ssl.certificate.verification": "false"}, False, ssl.CERT_NONE),
        ({"enable.ssl.certificate.verification": False}, False, ssl.CERT_NONE),
        ({"enable.ssl.certificate.verification": True}, True, ssl.CERT_REQUIRED),
    ],
)
def test_checks_are_only_left_out_where_that_is_said(
    change: dict[str, object], named: bool, verified: ssl.VerifyMode
) -> None:
    made = credentials({"security.protocol": "ssl"} | change)
    assert isinstance(made, SSLCredentials)
    assert (made.context.check_hostname, made.context.verify_mode) == (named, verified)


@pytest.mark.parametrize(
    ("client", "word"),
    [
        ({"security.protocol": "sasl_ssl"}, "GSSAPI"),  # librdkafka's default mechanism
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "OAUTHBEARER"}, "OAUTHBEARER"),
        ({"security.protocol": "tls"}, "tls"),
        ({"ssl.keystore.location": "a"}, "ssl.keystore.location"),
        ({"ssl.ca.pem": "a"}, "ssl.ca.pem"),
        ({"enable.sasl.oauthbearer.unsecure.jwt": "true"}, "enable.sasl.oauthbearer.unsecure.jwt"),
    ],
)
def test_what_can_not_be_followed_is_refused_by_name(client: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        credentials(client)
