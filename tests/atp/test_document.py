"""DID documents: what they say of an account, in each of the forms that directories write."""

from __future__ import annotations

from typing import Any

import base58
import pytest

from atp.identity import Identity, parse_document
from schemas.errors import AddressForbidden, IdentityIncomplete
from tests.atp.builder import DID, Signer

SIGNER = Signer()
PDS = "https://pds.example"


def document(**changed: Any) -> dict[str, Any]:
    """A document as the PLC directory writes it; None removes a field."""
    fields = {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": DID,
        "alsoKnownAs": ["at://alice.example"],
        "verificationMethod": [method()],
        "service": [service()],
        **changed,
    }
    return {name: value for name, value in fields.items() if value is not None}


def method(**changed: Any) -> dict[str, Any]:
    multikey = {"type": "Multikey", "controller": DID, "publicKeyMultibase": SIGNER.multikey}
    return {"id": f"{DID}#atproto", **multikey, **changed}


def service(**changed: Any) -> dict[str, Any]:
    return {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": PDS, **changed}


def test_a_document_of_the_directory() -> None:
    assert parse_document(DID, document()) == Identity(DID, "alice.example", PDS, SIGNER.did_key)


@pytest.mark.parametrize(
    "changed",
    [
        {"verificationMethod": [method(id="#atproto")]},
        {"verificationMethod": [method(id="#other", publicKeyMultibase="z1"), method()]},
        {"verificationMethod": ["text", None, {}, method()]},
        {"service": [service(id=f"{DID}#atproto_pds")]},
        {"service": [service(id="#bsky_fg", serviceEndpoint="https://feed.example"), service()]},
        {"service": [service(serviceEndpoint="https://PDS.Example:443/")]},
        {"alsoKnownAs": ["https://alice.example", "at://Alice.Example", "at://second.example"]},
    ],
    ids=str,
)
def test_other_spellings_of_the_same_account(changed: dict[str, Any]) -> None:
    assert parse_document(DID, document(**changed)) == parse_document(DID, document())


@pytest.mark.parametrize("point", [SIGNER.compressed, SIGNER.uncompressed])
def test_the_older_form_of_a_key(point: bytes) -> None:
    older = method(
        type="EcdsaSecp256k1VerificationKey2019", publicKeyMultibase="z" + base58.b58encode(point).decode()
    )
    assert parse_document(DID, document(verificationMethod=[older])).signing_key == SIGNER.did_key


@pytest.mark.parametrize("names", [None, [], "at://alice.example", ["at://no handle"], ["at://"], [1]])
def test_an_account_may_have_no_handle(names: Any) -> None:
    assert parse_document(DID, document(alsoKnownAs=names)).handle is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"id": "did:plc:other"}, "that of 'did:plc:other'"),
        ({"id": None}, "that of 'None'"),
        ({"verificationMethod": None}, "no signing key"),
        ({"verificationMethod": []}, "no signing key"),
        ({"verificationMethod": {"id": "#atproto"}}, "no signing key"),
        ({"verificationMethod": [method(id="#other")]}, "no signing key"),
        ({"verificationMethod": [method(id="did:plc:other#atproto")]}, "no signing key"),
        ({"verificationMethod": [method(publicKeyMultibase=None)]}, "publicKeyMultibase"),
        ({"verificationMethod": [method(type="Unknown")]}, "unknown type"),
        ({"service": None}, "no PDS"),
        ({"service": "text"}, "no PDS"),
        ({"service": [service(id="#other")]}, "no PDS"),
        ({"service": [service(type="Other")]}, "no PDS"),
        ({"service": [service(serviceEndpoint=None)]}, "no PDS"),
        ({"service": [service(serviceEndpoint={"uri": PDS})]}, "no PDS"),
        ({"service": [service(serviceEndpoint="pds.example")]}, "not the URL of a host"),
    ],
)
def test_what_is_missing_is_said(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(IdentityIncomplete, match=reason):
        parse_document(DID, document(**changed))


@pytest.mark.parametrize(
    "endpoint",
    ["http://pds.example", "https://localhost", "https://169.254.169.254", "https://[::ffff:127.0.0.1]"],
)
def test_a_document_may_not_lead_inside(endpoint: str) -> None:
    inside = document(service=[service(serviceEndpoint=endpoint)])
    with pytest.raises(AddressForbidden):
        parse_document(DID, inside)
    assert parse_document(DID, inside, allow_private=True).pds == endpoint.replace("127.0.0.1", "7f00:1")
