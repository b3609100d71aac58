"""zstd for aiokafka, which Faust reads with: by pyarrow, which is here anyway.

All of skyfill's producers compress with zstd. aiokafka looks for the package `cramjam` to unpack that, and
ends on the first message without it; where it is installed, it is used and nothing here has an effect.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiokafka.codec  # type: ignore[import-untyped]
import pyarrow


def install_codecs() -> None:
    """Lets aiokafka read zstd and lz4, in this process."""
    codec: Any = aiokafka.codec
    if codec.cramjam is None:
        codec.cramjam = SimpleNamespace(
            zstd=SimpleNamespace(decompress=_decompressor("zstd")),
            lz4=SimpleNamespace(decompress=_decompressor("lz4")),
        )


def _decompressor(name: str) -> Callable[[Any], bytes]:
    def decompress(payload: Any) -> bytes:
        # As a stream: a batch does not say how large it will be.
        with pyarrow.CompressedInputStream(io.BytesIO(payload), name) as stream:
            read: bytes = stream.read()
        return read

    return decompress
