"""The simulated PLC directory: DID documents in the form that plc.directory answers them.

It shares no state with the PDSs but the population and the faults. Every document of a moved account or
a rotated key counts: after the stale ones it tells the truth. The log tells it from the beginning.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from local.network.accounts import Account, Population
from local.network.active import ActiveFaults
from local.network.answer import Answer, json_answer, xrpc_error
from local.network.faults import Incomplete, Moved, RotatedKey, Tombstoned
from local.network.ledger import Ledger
from local.network.log import OperationLog

DID_JSON = "application/did+ld+json; charset=utf-8"
_MOST_ROWS = 1000


class Directory:
    """PLC's port: documents, the log of operations, handles, and the network's own ledger and truth.

    ``origins`` are the PDSs' origins by host number; ``truth`` streams the truth as JSON lines, with the
    records or without.
    """

    def __init__(
        self,
        population: Population,
        faults: ActiveFaults,
        ledger: Ledger,
        origins: Sequence[str],
        truth: Callable[[bool], AsyncIterator[bytes]],
    ) -> None:
        self._population = population
        self._faults = faults
        self._ledger = ledger
        self._origins = origins
        self._truth = truth
        self._log = OperationLog(population, faults, origins)

    async def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        if path == "/_ledger":
            return json_answer(self._ledger.export(requests=query.get("requests") != "0"))
        if path == "/_truth":
            lines = self._truth(query.get("records") != "0")
            return Answer(200, b"", "application/jsonl", chunked=True, lines=lines)
        if path == "/export":
            return self._export(query)
        if path in ("/_health", "/xrpc/_health"):
            return json_answer({"version": "skyfill-network"})
        if path == "/xrpc/com.atproto.identity.resolveHandle":
            return resolve_handle(self._population, query)
        return self._did(path.removeprefix("/"))

    def _did(self, did: str) -> Answer:
        account = self._population.find(did) if did.startswith("did:plc:") else None
        if account is None:
            return json_answer({"message": f"DID not registered: {did}"}, status=404)
        if self._faults.of_account(account.number, Tombstoned):
            return json_answer({"message": f"DID not available: {did}"}, status=410)
        return json_answer(self.document(account), content_type=DID_JSON)

    def _export(self, query: Mapping[str, str]) -> Answer:
        """Rows behind a number or a time. What the log says of a fault never is a stale answer."""
        count, after = query.get("count", str(_MOST_ROWS)), query.get("after", "")
        if not count.isdecimal() or int(count) < 1:
            return json_answer({"message": "Invalid count parameter"}, status=400)
        most = min(int(count), _MOST_ROWS)
        if after.isdecimal():
            lines = self._log.after_number(int(after), most)
        else:
            try:
                time = datetime.fromisoformat(after).replace(tzinfo=UTC) if after else None
            except ValueError:
                return json_answer({"message": "Invalid after parameter"}, status=400)
            lines = self._log.after_time(time, most)
        return Answer(200, b"\n".join(lines), "application/jsonlines")

    def document(self, account: Account) -> dict[str, Any]:
        """The account's DID document as of this request; counts towards stale answers."""
        moved = self._faults.of_account(account.number, Moved)
        host = account.host if moved is None or self._faults.answers_stale(moved) else moved.to_host
        rotated = self._faults.of_account(account.number, RotatedKey)
        generation = 0 if rotated is None or self._faults.answers_stale(rotated) else 1
        document = did_document(account, self._origins[host], generation)
        incomplete = self._faults.of_account(account.number, Incomplete)
        if incomplete is not None:
            document["service" if incomplete.lacks == "pds" else "verificationMethod"] = []
        return document


def did_document(account: Account, origin: str, generation: int) -> dict[str, Any]:
    """A DID document (W3C DID Core; atproto spec, DID) with a Multikey and one PDS."""
    return {
        "@context": [
            "https://www.w3.org/ns/did/v1",
            "https://w3id.org/security/multikey/v1",
            "https://w3id.org/security/suites/secp256k1-2019/v1",
        ],
        "id": account.did,
        "alsoKnownAs": [f"at://{account.handle}"],
        "verificationMethod": [
            {
                "id": f"{account.did}#atproto",
                "type": "Multikey",
                "controller": account.did,
                "publicKeyMultibase": account.key(generation).multibase,
            }
        ],
        "service": [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": origin}],
    }


def resolve_handle(population: Population, query: Mapping[str, str]) -> Answer:
    """com.atproto.identity.resolveHandle."""
    handle = query.get("handle", "").lower()
    account = population.find(handle) if not handle.startswith("did:") else None
    if account is None:
        return xrpc_error("HandleNotFound", "Unable to resolve handle")
    return json_answer({"did": account.did})
