"""The chain: the Parquet files of one partition in one local folder, each row in exactly one of them.

File n+1 is named by the first row after file n's last offset, and a name is taken only once (`os.link`
refuses an existing one). So two processes that both believe to own the partition want the same name; the
second reads what the first stored, and goes on behind it. Nothing is overwritten, renamed or removed.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import uuid
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import FencedError, SinkError
from sinks import arrow_rows

LAYOUT = "1"
"""Version of file names, columns and footer."""
_NAME = re.compile(r"(?P<topic>[0-9a-f]{32})-(?P<partition>\d{5,})-(?P<first>\d{20})\.parquet")
_log = logging.getLogger("skyfill.sink")


class Stream(NamedTuple):
    """A partition of a topic, for ever: another cluster or a topic made anew has other ids."""

    cluster_id: str
    topic_id: str
    partition: int


class Chain:
    """Life: made when a folder gets its first row after an assignment, `publish` until forgotten."""

    def __init__(self, folder: Path, stream: Stream) -> None:
        """Makes the folder if need be, finds the chain's end and sweeps dead drafts. Raises SinkError."""
        self._folder, self._stream = folder, stream
        self._prefix = f"{stream.topic_id}-{stream.partition:05}-"
        self.end = -1
        """The last offset stored; rows up to it are in the chain."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._sync(folder.parent)
            self._sweep()
            self.end = self._find_end()
        except OSError as error:
            raise _unusable(folder, error) from error

    def publish(self, rows: pa.Table) -> int:
        """Stores rows in ascending order of offset; on return they are durable. How many were new.

        Rows that another process stored meanwhile are left out. Raises SinkError where the folder can't be
        used or holds a broken file, FencedError where another owner has swept this one's draft.
        """
        stored = 0
        try:
            while (rows := self._missing(rows)).num_rows:
                if self._publish_file(rows):
                    stored += rows.num_rows
        except OSError as error:
            raise _unusable(self._folder, error) from error
        return stored

    def _missing(self, rows: pa.Table) -> pa.Table:
        return rows.filter(pc.greater(rows["offset"], self.end))

    def _publish_file(self, rows: pa.Table) -> bool:
        """One file with these rows, or, where its name is taken, the chain's end moved behind that file."""
        first, last = rows["offset"][0].as_py(), rows["offset"][-1].as_py()
        target = self._folder / f"{self._prefix}{first:020}.parquet"
        draft = self._write_draft(target, rows, last)
        try:
            published = self._link(draft, target)
        finally:
            self._remove_draft(draft)
        # Also after a collision: the other process may have died before it synced the folder.
        self._sync(self._folder)
        self.end = last if published else max(self.end, self._last_offset(target))
        return published

    def _write_draft(self, target: Path, rows: pa.Table, last: int) -> Path:
        """A whole file under a name of its own that no reader looks at; on the disk when this returns."""
        draft = self._folder / f".{target.name}.{uuid.uuid4().hex}.draft"
        footer = {
            "skyfill.layout": LAYOUT,
            "skyfill.cluster_id": self._stream.cluster_id,
            "skyfill.topic_id": self._stream.topic_id,
            "skyfill.partition": str(self._stream.partition),
            "skyfill.last_offset": str(last),
        }
        with draft.open("xb") as file:
            arrow_rows.write(rows, file, footer)
            file.flush()
            os.fsync(file.fileno())
        return draft

    def _link(self, draft: Path, target: Path) -> bool:
        """Gives the draft its final name; False if a file has it already."""
        try:
            os.link(draft, target)
        except FileExistsError:
            _log.warning("%s was stored by another process already; going on behind it", target)
            return False
        except FileNotFoundError as error:
            raise FencedError(f"{draft} was swept: another process owns its partition") from error
        return True

    def _remove_draft(self, draft: Path) -> None:
        draft.unlink(missing_ok=True)

    def _sync(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _sweep(self) -> None:
        """Removes the drafts of this partition: whoever wrote them is not its owner any more.

        If he still lives (he was stopped, and will go on), his link fails and ends him, see `_link`: a
        sweep too much costs a restart, never a row. Drafts of other partitions are their owners' matter.
        A draft left behind is always found: its rows are not committed, so they come again.
        """
        for path in self._folder.glob(f".{self._prefix}*.draft"):
            path.unlink(missing_ok=True)
            _log.info("swept %s, left by a process that died", path)

    def _find_end(self) -> int:
        """The last offset of the last file. Files of other topics and partitions are not looked at."""
        with os.scandir(self._folder) as entries:
            names = [e.name for e in entries if e.name.startswith(self._prefix) and _NAME.fullmatch(e.name)]
        return self._last_offset(self._folder / max(names)) if names else -1

    def _last_offset(self, path: Path) -> int:
        """What the footer says. Raises SinkError if it is not the footer of this file."""
        match = _NAME.fullmatch(path.name)
        assert match is not None
        try:
            footer = pq.read_metadata(path).metadata or {}
            place = footer[b"skyfill.topic_id"].decode(), int(footer[b"skyfill.partition"])
            last = int(footer[b"skyfill.last_offset"])
        except (pa.ArrowInvalid, KeyError, ValueError) as error:
            raise _broken(path, f"it has no readable footer ({error})") from error
        if place != (match["topic"], int(match["partition"])) or last < int(match["first"]):
            raise _broken(path, "its footer belongs to another file")
        return last


def _broken(path: Path, why: str) -> SinkError:
    return SinkError(
        f"{path} can't be trusted: {why}. It tells which rows are stored already, so nothing more goes into "
        f"its folder. Restore it from a copy; or move it away, and fetch its accounts anew, since its rows "
        f"are not written a second time"
    )


def _unusable(folder: Path, error: OSError) -> SinkError:
    advice = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.EACCES: "let this user write there",
        errno.EPERM: "let this user write and hard-link there; some file systems know no hard links",
        errno.EROFS: "mount it writable",
        errno.ENOTSUP: "use a file system with hard links",
    }.get(error.errno or 0, "see to the folder")
    return SinkError(f"Parquet files can't be written to {folder} ({error}): {advice} and start again")
