"""The errors of skyfill. Every one says what happened and what to do next.

SkyfillError
├── ConfigError                   a document, setting or flag is wrong
├── SourceError                   a source of accounts can't be read
├── DeploymentError               Kafka, a table or a local server isn't as it has to be
│   ├── TopicMismatch             a topic exists with other settings
│   ├── OffsetsMissing            a group has no committed offset where it must have one
│   └── LocalServerError          an embedded server did not start
├── FencedError                   another process took this one's place: it has to end
├── SinkError                     a store refused what it may not refuse
│   └── RowRefused                one row that the store can never take; the rest goes on
│       ├── ItemTooLarge          over a DynamoDB item's 400 KB even when compressed
│       └── ItemKeyInvalid        a key that DynamoDB can't hold
├── IdentityError                 who is this account, and where does it live?
│   ├── IdentifierInvalid         neither a DID nor a handle
│   ├── IdentityNotFound          no such DID or handle
│   ├── IdentityTombstoned        the DID was deleted for good
│   ├── IdentityIncomplete        the document lacks a PDS or a signing key
│   ├── HandleMismatch            handle and DID don't name each other
│   └── IdentityUnreachable       the directory did not answer: try again
├── XrpcError                     a host's answer, or none
│   ├── RepoUnavailable           a terminal state of the account
│   │   ├── RepoNotFound
│   │   ├── RepoTakendown
│   │   ├── RepoSuspended
│   │   └── RepoDeactivated
│   ├── RateLimited               429
│   ├── HostSilent                no whole answer came
│   │   ├── HostUnreachable       DNS, connect, a connection cut short
│   │   │   ├── HostUnknown       DNS says that there is no such name
│   │   │   └── TlsInvalid        a certificate that proves nothing
│   │   └── HostTimeout           no answer in time, or one that trickles
│   ├── AddressForbidden          a private, loopback or link-local address, or plain http
│   ├── RepoChanging              it changed each time while its pages were listed
│   └── UnexpectedResponse        any other status or body
│       ├── NotAtproto            no answer of the protocol: a proxy's page, a parked domain, not HTTP
│       └── RecordNotFound        no record of that key
├── RepoError                     a repository that does not prove itself
│   ├── CarError                  framing of the CAR file
│   │   ├── CarTruncated
│   │   ├── CarHeaderInvalid
│   │   ├── CarLengthInvalid      a length that isn't a minimal varint
│   │   ├── CidUnsupported        not version 1, DAG-CBOR or raw, SHA-256
│   │   └── BlockMismatch         a block's SHA-256 isn't its CID's
│   ├── BlockMissing              referenced, not in the CAR: transient first of all
│   ├── DiffUnexplained           a difference that may not be all: the whole is fetched
│   ├── CommitError               the signed commit
│   │   ├── CommitMalformed
│   │   ├── CommitForeign         another account's repository
│   │   ├── CommitFromFuture      rev more than five minutes ahead
│   │   └── SignatureInvalid
│   └── MstError                  the tree of records
│       ├── MstNodeMalformed      fields, types or encoding
│       ├── MstNodeEmpty          without entries: an inner node without pointer, a root with one
│       ├── MstKeyInvalid
│       ├── MstKeyOrder           not strictly ascending, duplicates included
│       ├── MstKeyOutOfBounds     a subtree's key lies outside its place
│       ├── MstPrefixInvalid      prefix length not the longest, or beyond the key
│       ├── MstDepthInvalid       a key or node in the wrong layer
│       ├── MstCycle              a node is reached twice
│       └── MstRecordIsNode       a record's CID points at a node of the tree
└── RecordInvalid                 one record isn't valid atproto data; the rest is fine
    └── CidMismatch               what a host listed is not what its CID names
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

ErrorType = Literal[
    "fetch_failed",
    "network_error",
    "timeout_error",
    "rate_limit_error",
    "validation_failed",
    "verification_failed",
    "processing_failed",
    "data_unavailable",
    "scope_violation",
    "sink_failed",
]


class SkyfillError(Exception):
    """Base of all. ``error_type`` is the class it counts under in a job's status."""

    error_type: ClassVar[ErrorType] = "processing_failed"

    @property
    def reason(self) -> str:
        """The name that outcomes and dead letters carry, e.g. ``RepoTakendown``."""
        return type(self).__name__


class ConfigError(SkyfillError):
    """A document, setting or flag is wrong."""


class SourceError(SkyfillError):
    """A source of accounts can't be read."""


class DeploymentError(SkyfillError):
    """Kafka, a table or a local server isn't as it has to be."""


class TopicMismatch(DeploymentError):
    """A topic exists with other settings than configured."""


class OffsetsMissing(DeploymentError):
    """A consumer group has no committed offset where it must have one."""


class LocalServerError(DeploymentError):
    """An embedded server did not start."""


class FencedError(SkyfillError):
    """Another process took this one's place; it has to end and start anew."""


class SinkError(SkyfillError):
    """A store refused what it may not refuse."""

    error_type: ClassVar[ErrorType] = "sink_failed"


class RowRefused(SinkError):
    """One row that the store can never take, however often it is tried; the rest goes on."""


class ItemTooLarge(RowRefused):
    """An item over DynamoDB's 400 KB, even with its record compressed."""


class ItemKeyInvalid(RowRefused):
    """A key that DynamoDB can't hold: empty or too long."""


class IdentityError(SkyfillError):
    """An account can't be resolved to a PDS and a signing key."""

    error_type: ClassVar[ErrorType] = "data_unavailable"


class IdentifierInvalid(IdentityError):
    """Neither a DID nor a handle."""

    error_type: ClassVar[ErrorType] = "validation_failed"


class IdentityNotFound(IdentityError):
    """No such DID or handle."""


class IdentityTombstoned(IdentityError):
    """The DID was deleted for good."""


class IdentityIncomplete(IdentityError):
    """The DID document lacks a usable ``#atproto_pds`` service or ``#atproto`` key."""


class HandleMismatch(IdentityError):
    """A handle names a DID whose document does not name the handle."""


class IdentityUnreachable(IdentityError):
    """The directory or web server did not answer; trying again may help."""

    error_type: ClassVar[ErrorType] = "network_error"


class XrpcError(SkyfillError):
    """A host's answer that is not the wanted one, or no answer at all.

    ``headers`` are those of the answer, for the limiter of its host; None where no answer came.
    """

    error_type: ClassVar[ErrorType] = "fetch_failed"

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = headers

    @property
    def may_pass(self) -> bool:
        """Whether asking again later may help."""
        return False


class RepoUnavailable(XrpcError):
    """A terminal state of an account on its host."""

    error_type: ClassVar[ErrorType] = "data_unavailable"


class RepoNotFound(RepoUnavailable):
    """The host does not know the account."""


class RepoTakendown(RepoUnavailable):
    """The account was taken down."""


class RepoSuspended(RepoUnavailable):
    """The account is suspended."""


class RepoDeactivated(RepoUnavailable):
    """The account is deactivated, by its owner or because it moved."""


class RateLimited(XrpcError):
    """429. ``retry_after`` is in seconds, None where the host did not say."""

    error_type: ClassVar[ErrorType] = "rate_limit_error"

    def __init__(
        self, message: str, retry_after: float | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, headers)
        self.retry_after = retry_after

    @property
    def may_pass(self) -> bool:
        return True


class HostSilent(XrpcError):
    """No whole answer came. ``connected``: whether there was a connection at least."""

    def __init__(
        self, message: str, headers: Mapping[str, str] | None = None, *, connected: bool = True
    ) -> None:
        super().__init__(message, headers)
        self.connected = connected

    @property
    def may_pass(self) -> bool:
        return True


class HostUnreachable(HostSilent):
    """DNS or connecting failed, or the connection was cut short."""

    error_type: ClassVar[ErrorType] = "network_error"


class HostUnknown(HostUnreachable):
    """DNS answers that there is no such name, or no address for it."""


class TlsInvalid(HostUnreachable):
    """The host's certificate is expired, of another name, or of nobody that is trusted."""


class HostTimeout(HostSilent):
    """No answer in time, or one that trickles."""

    error_type: ClassVar[ErrorType] = "timeout_error"


class AddressForbidden(XrpcError):
    """A private, loopback or link-local address, or plain http, while these are not allowed."""

    error_type: ClassVar[ErrorType] = "scope_violation"


class RepoChanging(XrpcError):
    """The repository changed each time while its pages were listed; a quieter moment may help."""

    @property
    def may_pass(self) -> bool:
        return True


class UnexpectedResponse(XrpcError):
    """Any other status or body. ``status`` is the HTTP status."""

    def __init__(self, message: str, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, headers)
        self.status = status

    @property
    def may_pass(self) -> bool:
        return self.status in (408, 425) or (self.status >= 500 and self.status != 501)


class NotAtproto(UnexpectedResponse):
    """An answer that no PDS gives: HTML, an empty body, or not HTTP at all. It says nothing of an account."""

    @property
    def may_pass(self) -> bool:
        return True


class RecordNotFound(UnexpectedResponse):
    """The host has the account, but no record of that key."""


class RepoError(SkyfillError):
    """A repository that does not prove itself."""

    error_type: ClassVar[ErrorType] = "verification_failed"


class CarError(RepoError):
    """The CAR file's framing."""


class CarTruncated(CarError):
    """The file ends inside a header or block."""


class CarHeaderInvalid(CarError):
    """Not a CAR version 1 header with at least one root."""


class CarLengthInvalid(CarError):
    """A length in the CAR is not a minimal varint of at most nine bytes."""


class CidUnsupported(CarError):
    """A CID that is not version 1, DAG-CBOR or raw, SHA-256."""


class BlockMismatch(CarError):
    """A block's SHA-256 is not its CID's."""


class BlockMissing(RepoError):
    """A referenced block is not in the CAR. Hosts stream without a snapshot: fetch again first."""


class DiffUnexplained(RepoError):
    """What came since a known rev does not account for itself; the whole repository does, or fails."""


class CommitError(RepoError):
    """The signed commit."""


class CommitMalformed(CommitError):
    """Fields, types or encoding of the commit."""


class CommitForeign(CommitError):
    """The commit belongs to another account."""


class CommitFromFuture(CommitError):
    """The commit's rev lies more than five minutes ahead."""


class SignatureInvalid(CommitError):
    """The signature is not by the account's key, or not low-S."""


class MstError(RepoError):
    """The Merkle search tree of the repository's records."""


class MstNodeMalformed(MstError):
    """Fields, types or encoding of a node."""


class MstNodeEmpty(MstError):
    """An inner node without entries and pointer, or a root that has a pointer alone."""


class MstKeyInvalid(MstError):
    """A key that is not collection/rkey."""


class MstKeyOrder(MstError):
    """Keys not strictly ascending; duplicates included."""


class MstKeyOutOfBounds(MstError):
    """A subtree holds a key that lies outside its place."""


class MstPrefixInvalid(MstError):
    """A prefix length that is not the longest common one, or goes beyond the key before it."""


class MstDepthInvalid(MstError):
    """A key or a node in the wrong layer."""


class MstCycle(MstError):
    """A node is reached twice."""


class MstRecordIsNode(MstError):
    """A record's CID points at a node of the tree."""


class RecordInvalid(SkyfillError):
    """One record is in its place but is not valid atproto data; the rest of the repository is fine."""

    error_type: ClassVar[ErrorType] = "validation_failed"


class CidMismatch(RecordInvalid):
    """A record as a host listed it has another CID than the host says."""
