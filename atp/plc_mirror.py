"""The mirror of the PLC directory: a file that tells of millions of DIDs what their last operation says.

Readers open it read-only, any number of them, also while a sync writes. It says nothing that it can't know: a
DID that it does not hold is for the directory, and so is every DID while it is far behind. 110 bytes a DID.
"""

from __future__ import annotations

import base64
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Self

from atp.identity import Identity
from atp.plc import Answer, Position, is_plc
from schemas.errors import AddressForbidden, DeploymentError, IdentityIncomplete, IdentityTombstoned

APPLICATION_ID = 0x736B706C
"""How a mirror's file is told from other SQLite files."""
VERSION = 1
SETTING = "SKYFILL_NETWORK__PLC_MIRROR"
_COMMON_ENDING = ".bsky.social"
"""Left out of stored handles: every handle has a dot, so one without ends so."""
_KEY_BEGINNING = "did:key:"
"""Left out, too. The rest stays text: packed it is 13 bytes shorter, and slower to read than all else."""
MOST_AGE = 30 * 86_400.0
"""Seconds that a mirror may be behind and still answer. In the midst of its first sync it is years behind:
most accounts have moved since, and their old hosts would be asked for them, if these are still there."""
_LOOK_SECONDS = 1.0
_BATCH = 1000
_WARN_SECONDS = 60.0
_SELECT = (
    "SELECT did, seq, created, state, origin, signing_key, words "
    "FROM accounts LEFT JOIN hosts ON hosts.id = accounts.host WHERE did"
)
_log = logging.getLogger("skyfill.plc")


class State(IntEnum):
    """What a DID's last operation made of it."""

    ACCOUNT = 0
    TOMBSTONE = 1
    INCOMPLETE = 2
    FORBIDDEN = 3
    UNKNOWN = 4
    """An operation of a kind that this version doesn't know: the directory has to be asked."""


class Entry(NamedTuple):
    """What is held of a DID."""

    seq: int | None
    created: int  # milliseconds since 1970
    answer: Answer | None


class Status(NamedTuple):
    """How far a mirror is."""

    directory: str
    operations: int
    """Read so far; those that were read again count again."""
    dids: int
    position: Position | None
    """None while nothing was read."""
    caught_up: float | None
    """When a sync last came to the log's end, in seconds since 1970; None: never yet."""
    size: int
    """Bytes on disk."""


class PlcMirror:
    """A mirror to read. `close` it in the end; any thread may ask."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Raises DeploymentError where there is no mirror that can be read. ``clock``: seconds since 1970."""
        self.path = path
        self._clock = clock
        if not path.is_file():
            raise DeploymentError(f"there is no mirror at {path}; make it with `skyfill plc sync`")
        with told(path, "read"):
            self._db = connect(path, "ro")
            try:
                check(self._db, path)
            except BaseException:
                self._db.close()
                raise
        self._warned = 0.0
        self._looked, self._current = 0.0, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()

    def find(self, did: str) -> Answer | None:
        """What is known of a DID; None: ask the directory. See `find_many`."""
        return self.find_many([did]).get(did)

    def find_many(self, dids: Iterable[str]) -> dict[str, Answer]:
        """What is known of these DIDs; those to ask the directory for are left out.

        A mirror that is more than MOST_AGE behind answers nothing. Private addresses are not refused here. A
        file that can't be read counts as one that knows nothing; a warning is logged.
        """
        try:
            if not self._is_current():
                return {}
            return {did: entry.answer for did, entry in self.entries(dids) if entry.answer is not None}
        except DeploymentError as error:
            if time.monotonic() - self._warned > _WARN_SECONDS:
                self._warned = time.monotonic()
                _log.warning("the directory is asked instead: %s", error)
            return {}

    def entries(self, dids: Iterable[str]) -> Iterator[tuple[str, Entry]]:
        """All that is held of these DIDs, in any order. Raises DeploymentError."""
        wanted = {packed(did): did for did in dids if is_plc(did)}
        keys = list(wanted)
        with told(self.path, "read"):
            for begin in range(0, len(keys), _BATCH):
                batch = keys[begin : begin + _BATCH]
                marks = ",".join("?" * len(batch))
                for key, seq, created, *rest in self._db.execute(f"{_SELECT} IN ({marks})", batch):
                    did = wanted[key]
                    yield did, Entry(seq, created, _answer(did, *rest))

    def walk(self, after: str | None, count: int, *, since: int = 0) -> list[tuple[str, Entry]]:
        """The next DIDs behind one, in their order, whose last operation is of that time (milliseconds since
        1970) or later. Raises DeploymentError."""
        begin = b"" if after is None else packed(after)
        with told(self.path, "read"):
            rows = self._db.execute(
                f"{_SELECT} > ? AND created >= ? ORDER BY did LIMIT ?", (begin, since, count)
            ).fetchall()
        found = []
        for key, seq, created, *rest in rows:
            did = unpacked(key)
            found.append((did, Entry(seq, created, _answer(did, *rest))))
        return found

    def age(self) -> float | None:
        """Seconds since all of the log was here; None while nothing is. Raises DeploymentError.

        That was when the last operation came that is held, or later, when a sync found no more of them.
        """
        with told(self.path, "read"):
            created, caught_up = self._db.execute("SELECT created, caught_up FROM progress").fetchone()
        if created is None:
            return None
        current_at: float = max(created / 1000, caught_up or 0.0)
        return max(0.0, self._clock() - current_at)

    def _is_current(self) -> bool:
        """Looked up once in a while; a sync may be under way."""
        now = time.monotonic()
        if not self._current or now - self._looked > _LOOK_SECONDS:
            age = self.age()
            self._looked, self._current = now, age is not None and age <= MOST_AGE
        return self._current

    def status(self) -> Status:
        """How far the mirror is. Raises DeploymentError."""
        with told(self.path, "read"):
            row = self._db.execute(
                "SELECT directory, operations, dids, seq, created, caught_up FROM progress"
            ).fetchone()
            directory, operations, dids, seq, created, caught_up = row
            files = (self.path, self.path.with_name(self.path.name + "-wal"))
            size = sum(file.stat().st_size for file in files if file.exists())
        position = None if created is None else Position(seq, created)
        return Status(directory, operations, dids, position, caught_up, size)


def open_mirror(path: Path, directory: str, *, required: bool) -> PlcMirror | None:
    """The mirror of the directory with this URL; None where there is none, or another directory's.

    With ``required`` that is a DeploymentError, as is any file that is no mirror.
    """
    if not required and not path.exists():
        return None
    mirror = PlcMirror(path)
    age = mirror.age()
    if (known := mirror.status().directory) == directory.rstrip("/"):
        if age is None or age > MOST_AGE:
            _log.warning(
                "the mirror %s is too far behind; the directory is asked for each account, until `skyfill "
                "plc sync` has come within %d days of the log's end",
                path,
                MOST_AGE // 86_400,
            )
        return mirror
    mirror.close()
    if required:
        raise DeploymentError(f"{path} mirrors {known}, not {directory}; name another file with {SETTING}")
    _log.info("%s is not used: it mirrors %s, not %s", path, known, directory)
    return None


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection without Python's own transactions. ``mode`` is SQLite's: ro, rw or rwc."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=10.0,
        check_same_thread=False,
    )


def check(db: sqlite3.Connection, path: Path) -> None:
    """Raises DeploymentError where the file is no mirror, or one of another version."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise DeploymentError(f"{path} is not a mirror of a PLC directory; name another file with {SETTING}")
    if version != VERSION:
        raise DeploymentError(
            f"{path} is a mirror of form {version}, this skyfill reads form {VERSION}; name another file "
            f"with {SETTING} and fill it with `skyfill plc sync` or `skyfill plc import`"
        )


@contextmanager
def told(path: Path, doing: str) -> Iterator[None]:
    """SQLite's errors in the words of whoever has to mend them. ``doing``: read or written."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise DeploymentError(
            f"the mirror {path} can't be {doing}: {error}; see that its disk has room and that this user may "
            f"write to its folder"
        ) from error
    except sqlite3.DatabaseError as error:
        raise DeploymentError(
            f"{path} is not a mirror of a PLC directory, or is damaged ({error}); name another file with "
            f"{SETTING}"
        ) from error


def packed(did: str) -> bytes:
    """The 15 bytes of a did:plc."""
    return base64.b32decode(did[8:].upper())


def unpacked(key: bytes) -> str:
    """The did:plc of its 15 bytes."""
    return f"did:plc:{base64.b32encode(key).decode().lower()}"


def columns(answer: Answer | None) -> tuple[State, str | None, str | None, str | None]:
    """State, origin, signing key and words (handle or reason), as they are stored."""
    match answer:
        case Identity():
            key = answer.signing_key.removeprefix(_KEY_BEGINNING)
            return State.ACCOUNT, answer.pds, key, _shortened(answer.handle)
        case IdentityTombstoned():
            return State.TOMBSTONE, None, None, None
        case IdentityIncomplete():
            return State.INCOMPLETE, None, None, str(answer)
        case AddressForbidden():
            return State.FORBIDDEN, None, None, str(answer)
    return State.UNKNOWN, None, None, None


def _answer(did: str, state: int, origin: str, key: str, words: str | None) -> Answer | None:
    match state:
        case State.ACCOUNT:
            handle = words if words is None or "." in words else words + _COMMON_ENDING
            return Identity(did, handle, origin, _KEY_BEGINNING + key)
        case State.TOMBSTONE:
            return IdentityTombstoned(f"{did} was deleted for good")
        case State.INCOMPLETE:
            return IdentityIncomplete(words)
        case State.FORBIDDEN:
            return AddressForbidden(words or "")
    return None


def _shortened(handle: str | None) -> str | None:
    short = (handle or "").removesuffix(_COMMON_ENDING)
    return short if short and "." not in short else handle
