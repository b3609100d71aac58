"""CAR files, version 1. Every block has been hashed before anything else looks at it, extras included;
so from here on a CID and its bytes belong together.

Order is free; duplicates and unreferenced blocks are tolerated. Source: ipld.io/specs/transport/car/carv1
"""

from __future__ import annotations

import hashlib
import mmap
from array import array

from atp import cid, dagcbor
from atp.cid_table import CidTable
from schemas.errors import (
    BlockMismatch,
    BlockMissing,
    CarHeaderInvalid,
    CarLengthInvalid,
    CarTruncated,
    CidUnsupported,
)

Buffer = bytes | memoryview | mmap.mmap

_LONGEST_VARINT = 9  # bytes, 63 bits: the bound of the unsigned-varint specification
_LARGEST_HEADER = 1 << 16  # bytes; a header with one root has 59
_MANY = 1 << 17
"""Blocks, from which on a dictionary by CID, at some 200 bytes a block, takes too much memory."""
_RELEASE_BYTES = 1 << 26


class Car:
    """An open CAR: its first root, and where each block lies. The bytes stay where they are.

    Blocks have numbers in the order of the file; a number costs a few bytes where a CID costs 69.
    Nothing holds on to the buffer's memory, so an mmap may be closed when the reading is over.
    """

    def __init__(self, buffer: Buffer) -> None:
        """Read framing and hashes. Raises CarError's subclasses."""
        self._buffer = buffer
        self._numbers: dict[bytes, int] | CidTable = {}
        self._starts = array("Q")
        self._ends = array("Q")
        self.size = len(buffer)
        with memoryview(buffer) as view:
            header_end = self._read_header(view)
            self._read_blocks(view, header_end)
        self.release()

    def __len__(self) -> int:
        """The number of different blocks."""
        return len(self._starts)

    def number(self, block_cid: bytes) -> int | None:
        """The number of the block with this CID, None if it is not in the file."""
        return self._numbers.get(block_cid)

    def forget_numbers(self) -> None:
        """Drop the index by CID, by far the largest part, once all numbers are known."""
        self._numbers = {}

    def release(self) -> None:
        """Let the system take back the memory of what was read so far of a mapped file; it comes again by
        itself. Worth a call now and then, where much is read."""
        if isinstance(self._buffer, mmap.mmap):
            self._buffer.madvise(mmap.MADV_DONTNEED)

    def cid(self, number: int) -> bytes:
        """The CID of a block: it stands right before the block's bytes."""
        start = self._starts[number]
        return bytes(self._buffer[start - cid.LENGTH : start])

    def data(self, number: int) -> bytes:
        """The bytes of a block."""
        return bytes(self._buffer[self._starts[number] : self._ends[number]])

    def block(self, block_cid: bytes) -> bytes:
        """The bytes of the block with this CID. Raises BlockMissing."""
        number = self.number(block_cid)
        if number is None:
            raise BlockMissing(f"block {cid.to_text(block_cid)} is not in the CAR")
        return self.data(number)

    def _read_header(self, view: memoryview) -> int:
        length, start = _read_varint(view, 0)
        end = start + length
        if length > _LARGEST_HEADER:
            raise CarHeaderInvalid(f"a header of {length} bytes")
        if end > self.size:
            raise CarTruncated("the file ends inside the header")
        try:
            header = dagcbor.decode(bytes(view[start:end]))
        except ValueError as error:
            raise CarHeaderInvalid(f"not canonical DAG-CBOR: {error}") from error
        if not isinstance(header, dict) or header.keys() != {"version", "roots"}:
            raise CarHeaderInvalid("not a map of version and roots alone")
        if type(header["version"]) is not int or header["version"] != 1:
            raise CarHeaderInvalid(f"version {str(header['version'])[:20]}, not 1")
        roots = header["roots"]
        if not isinstance(roots, list) or not roots or not all(isinstance(r, dagcbor.Link) for r in roots):
            raise CarHeaderInvalid("roots is not a list of at least one CID")
        self.root: bytes = roots[0].cid_bytes
        if not cid.is_dag_cbor(self.root):
            raise CidUnsupported("the root is not a DAG-CBOR block with SHA-256")
        return end

    def _read_blocks(self, view: memoryview, position: int) -> None:
        size, numbers, supported = self.size, self._numbers, (cid.DAG_CBOR, cid.RAW)
        release_at = position + _RELEASE_BYTES
        while position < size:
            length, position = _read_varint(view, position)
            start, end = position + cid.LENGTH, position + length
            if end > size:
                raise CarTruncated(f"the file ends inside a block, {end - size} bytes short")
            block_cid = bytes(view[position:start])
            if length < cid.LENGTH or not block_cid.startswith(supported):
                raise CidUnsupported(f"the block at byte {position} has another CID than version 1, SHA-256")
            if hashlib.sha256(view[start:end]).digest() != block_cid[4:]:
                raise BlockMismatch(f"block {cid.to_text(block_cid)} has other bytes than its hash says")
            if block_cid not in numbers:
                numbers[block_cid] = len(self._starts)
                self._starts.append(start)
                self._ends.append(end)
                if len(numbers) == _MANY and isinstance(numbers, dict):
                    numbers = self._numbers = CidTable(self.cid, numbers)
            position = end
            if position >= release_at:
                self.release()
                release_at = position + _RELEASE_BYTES


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    """The unsigned LEB128 number at ``position``, and the position after it."""
    number = shift = 0
    for end, byte in enumerate(view[position : position + _LONGEST_VARINT], position + 1):
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise CarLengthInvalid(f"the length at byte {position} is not minimal")
            return number, end
        shift += 7
    if len(view) - position < _LONGEST_VARINT:
        raise CarTruncated("the file ends inside a length")
    raise CarLengthInvalid(f"the length at byte {position} has more than {_LONGEST_VARINT} bytes")
