"""Fills a mirror from a file: JSON lines as the directory's /export gives them, plain, .gz or .zst.

A file may bring the rows of either mode. It never makes a gap: a mirror that knew what was before and what
came after, but not what lay between, would tell wrong hosts for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from atp.plc import Operation, Position, moment, read_row
from atp.plc_writer import MirrorWriter
from schemas.errors import SourceError

LONGEST_LINE = 1 << 20
"""Bytes; the directory takes no operation above a few thousand."""
_CHUNK = 1 << 20
_BATCH = 5000
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


def import_file(
    mirror: MirrorWriter,
    path: Path,
    *,
    follows: bool = False,
    tell: Callable[[int, Position], None] = lambda _, __: None,
) -> tuple[int, int]:
    """Takes a file into the mirror; how many rows were new to it, and how many it held already.

    An empty mirror takes a file that begins anywhere: for DIDs from before the directory is asked.
    ``follows`` is the user's word that the file goes on where the mirror ends. ``tell`` hears of each batch.
    What was read before an error is kept; the same command goes on. Raises SourceError, which names the line,
    and DeploymentError where the mirror can't be written.
    """
    position = mirror.status().position
    new = held = 0
    batch: list[Operation] = []
    last: Operation | None = None
    for number, operation in _operations(path):
        if last is None and position is not None and not (follows or position.reaches(operation)):
            raise SourceError(_gap(path, operation, position))
        if last is not None and _goes_back(last, operation):
            raise SourceError(
                f"{path}: line {number} goes back in the log, or changes its form; its rows have to stand "
                f"in the order in which the directory gives them"
            )
        last = operation
        if position is not None and position.covers(operation):
            held += 1
            continue
        position = position.after(operation) if position else Position(operation.seq, operation.created)
        new += 1
        batch.append(operation)
        if len(batch) >= _BATCH:
            mirror.apply(batch, position)
            tell(new, position)
            batch = []
    if batch:
        mirror.apply(batch, position)
    return new, held


def _operations(path: Path) -> Iterator[tuple[int, Operation]]:
    """The file's operations with the numbers of their lines."""
    found = False
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            operation = read_row(line)
        except ValueError as error:
            raise SourceError(
                f"{path}: line {number} is {error}; a file has to hold the lines of a PLC directory's /export"
            ) from error
        found = True
        if operation is not None:
            yield number, operation
    if not found:
        raise SourceError(f"{path} is empty")


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of bounded length; the file's name says how it is compressed."""
    compression = _COMPRESSIONS.get(path.suffix.lower())
    rest = b""
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            while chunk := stream.read(_CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
                if len(rest) > LONGEST_LINE:
                    raise SourceError(
                        f"{path} has a line above {LONGEST_LINE:,} bytes: it is no file of /export, or it is "
                        f"compressed and its name does not end in .gz or .zst"
                    )
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist") from error
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{path} can't be read: {error}") from error
    yield rest


def _goes_back(last: Operation, operation: Operation) -> bool:
    if last.seq is None or operation.seq is None:
        return last.seq is not operation.seq or operation.created < last.created
    return operation.seq <= last.seq


def _gap(path: Path, operation: Operation, position: Position) -> str:
    numbered = operation.seq is not None and position.seq is not None
    if numbered:
        begins, ends = f"operation {operation.seq:,}", f"operation {position.seq:,}"
    else:
        begins, ends = moment(operation.created), moment(position.created)
    return (
        f"{path} begins at {begins}, but the mirror ends at {ends}, and operations may lie between; import "
        f"the files before it first, let `skyfill plc sync` go on, or say with --follows that there are none"
    )
