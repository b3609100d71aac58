"""The signed commit, the one block that says whose repository this is. Nothing below it counts before
``parse`` has seen the account's own signature over it.

Source: atproto.com/specs/repository#commit-objects
"""

from __future__ import annotations

from typing import Any, NamedTuple

from atp import cid, dagcbor, tid
from atp.keys import PublicKey
from schemas.errors import CommitForeign, CommitFromFuture, CommitMalformed, SignatureInvalid

ALLOWED_SKEW = 5 * 60  # seconds that a rev may lie ahead of our clock
_FIELDS = frozenset({"did", "version", "data", "rev", "prev", "sig"})


class Commit(NamedTuple):
    """A commit whose signature holds. ``rev`` is "" in an old one of version 2 that has none."""

    did: str
    version: int
    data: bytes  # the CID of the tree's root
    rev: str


def parse(block: bytes, did: str, key: PublicKey, now: float) -> Commit:
    """Read a commit and prove it: of this account, signed by this key, not from the future.

    ``now`` is in seconds since 1970. Raises CommitError's subclasses.
    """
    fields = _decode(block)
    commit = _read(fields)
    if commit.did != did:
        raise CommitForeign(f"the commit is of {commit.did[:100]!r}, not of {did}")
    if commit.rev and tid.microseconds(commit.rev) > (now + ALLOWED_SKEW) * 1_000_000:
        raise CommitFromFuture(f"rev {commit.rev} lies more than {ALLOWED_SKEW} seconds ahead")
    signature = fields.pop("sig")
    if not isinstance(signature, bytes):
        raise CommitMalformed("sig is not a byte string")
    if not key.verify(signature, dagcbor.encode(fields)):
        raise SignatureInvalid(f"the commit is not signed by {key.did_key()}")
    return commit


def _decode(block: bytes) -> dict[str, Any]:
    try:
        fields = dagcbor.decode(block)
    except ValueError as error:
        raise CommitMalformed(f"not canonical DAG-CBOR: {error}") from error
    if not isinstance(fields, dict):
        raise CommitMalformed("not a map")
    return fields


def _read(fields: dict[str, Any]) -> Commit:
    version = fields.get("version")
    if type(version) is not int or version not in (2, 3):
        raise CommitMalformed(f"version {str(version)[:20]}, neither 3 nor 2")
    wanted = _FIELDS if version == 3 or "rev" in fields else _FIELDS - {"rev"}
    if fields.keys() != wanted:
        raise CommitMalformed(f"the fields {sorted(fields)} are not those of a commit of version {version}")
    did, rev, data, prev = fields["did"], fields.get("rev", ""), fields["data"], fields["prev"]
    if not isinstance(did, str):
        raise CommitMalformed("did is not a text")
    if "rev" in fields and not (isinstance(rev, str) and tid.is_tid(rev)):
        raise CommitMalformed("rev is not a TID")
    if not (isinstance(data, dagcbor.Link) and cid.is_dag_cbor(data.cid_bytes)):
        raise CommitMalformed("data is not a link to a DAG-CBOR block")
    if prev is not None and not (isinstance(prev, dagcbor.Link) and cid.is_dag_cbor(prev.cid_bytes)):
        raise CommitMalformed("prev is neither null nor a link to a DAG-CBOR block")
    return Commit(did, version, data.cid_bytes, rev)
