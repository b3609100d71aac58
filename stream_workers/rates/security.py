"""kafka.client, which is librdkafka's, in the words of Faust's Kafka client.

What may never break: an option about security that this client does not have is refused, never ignored.
Others (buffers, timeouts, …) tune another client and have no effect here.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from faust import SASLCredentials
from faust.auth import SSLCredentials
from faust.types.auth import CredentialsT, SASLMechanism

from schemas.errors import ConfigError

_SECURITY = ("security.", "sasl.", "ssl.", "enable.ssl.", "enable.sasl.", "https.")
_KNOWN = {
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
}
_MECHANISMS = {
    mechanism.value: mechanism
    for mechanism in (SASLMechanism.PLAIN, SASLMechanism.SCRAM_SHA_256, SASLMechanism.SCRAM_SHA_512)
}
_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")


def credentials(client: Mapping[str, Any]) -> CredentialsT | None:
    """What `kafka.client` says about TLS and SASL; None: neither is wanted.

    Raises ConfigError for options that the rates process can't follow, and for unusable certificates.
    """
    unknown = [name for name in client if name.startswith(_SECURITY) and name not in _KNOWN]
    if unknown:
        raise ConfigError(
            f"`skyfill rates` can't follow kafka.client's {', '.join(sorted(unknown))}; it knows "
            f"{', '.join(sorted(_KNOWN))}. Every other process follows it: do without the rates, or use those"
        )
    protocol = str(client.get("security.protocol", "plaintext")).lower()
    if protocol not in _PROTOCOLS:
        raise ConfigError(
            f"kafka.client's security.protocol is one of {', '.join(_PROTOCOLS)}, not {protocol}"
        )
    context = _context(client) if protocol.endswith("ssl") else None
    if protocol.startswith("sasl"):
        return SASLCredentials(
            username=_text(client, "sasl.username"),
            password=_text(client, "sasl.password"),
            mechanism=_mechanism(client),
            ssl_context=context,
        )
    return SSLCredentials(context) if context is not None else None


def _mechanism(client: Mapping[str, Any]) -> SASLMechanism:
    # librdkafka's own default is GSSAPI, which needs Kerberos.
    named = str(client.get("sasl.mechanism", client.get("sasl.mechanisms", "GSSAPI"))).upper()
    if named not in _MECHANISMS:
        raise ConfigError(
            f"`skyfill rates` can't follow kafka.client's sasl.mechanism {named}; it knows "
            f"{', '.join(_MECHANISMS)}"
        )
    return _MECHANISMS[named]


def _context(client: Mapping[str, Any]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=_text(client, "ssl.ca.location"))
        if certificate := _text(client, "ssl.certificate.location"):
            context.load_cert_chain(
                certificate, _text(client, "ssl.key.location"), _text(client, "ssl.key.password")
            )
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"kafka.client's certificates can't be used: {error}") from error
    verified = str(client.get("enable.ssl.certificate.verification", True)).lower() != "false"
    named = str(client.get("ssl.endpoint.identification.algorithm", "https")).lower() != "none"
    context.check_hostname = verified and named
    if not verified:
        context.verify_mode = ssl.CERT_NONE
    return context


def _text(client: Mapping[str, Any], name: str) -> str | None:
    return None if client.get(name) is None else str(client[name])
