"""What pages load beside themselves: our style and scripts, and the chart library from its pinned webjar.

Everything comes from this server: no page asks anybody else for anything. An address changes with its
content, so browsers may keep a file for ever. Without the library, pages show figures instead of charts.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from api.webjars import WebJar
from local.java import JarCache
from schemas.errors import LocalServerError

_FOLDER = Path(__file__).with_name("static")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_CHARTS = ("uPlot.iife.min.js", "uPlot.min.css")
_AGAIN_SECONDS = 300.0
_log = logging.getLogger("skyfill.api")


@dataclass(frozen=True)
class Asset:
    """One file as it is served."""

    content: bytes
    media_type: str
    version: str
    """Begin of the content's SHA-256."""

    @classmethod
    def of(cls, name: str, content: bytes) -> Asset:
        """A file by this name; the end of the name says what it is."""
        return cls(content, _TYPES[Path(name).suffix], hashlib.sha256(content).hexdigest()[:12])


class Assets:
    """Life: made, `load_charts` in the background, `find` and `url` for every page."""

    def __init__(self, jars: JarCache | None = None) -> None:
        """`jars`: where the chart library is, or goes to; absent: this user's cache."""
        self._jar = WebJar("charts", "META-INF/resources/webjars/uplot/{version}/dist", _CHARTS, jars)
        self._own = {
            path.name: Asset.of(path.name, path.read_bytes())
            for path in sorted(_FOLDER.iterdir())
            if path.suffix in _TYPES
        }
        self._charts: dict[str, Asset] = {}

    @property
    def charts(self) -> bool:
        """Whether the chart library is there."""
        return bool(self._charts)

    def find(self, name: str) -> Asset | None:
        """A file by the name in its address."""
        return self._own.get(name) or self._charts.get(name)

    def url(self, name: str) -> str:
        """Where a page finds a file. KeyError for one that is not there."""
        asset = self.find(name)
        if asset is None:
            raise KeyError(name)
        return f"/static/{name}?v={asset.version}"

    async def load_charts(self) -> None:
        """Fetches the chart library, once, and tries again later where it can't be had. To be cancelled."""
        while not self._charts:
            try:
                files = await self._jar.files()
                self._charts = {f"uplot/{name}": Asset.of(name, content) for name, content in files.items()}
            except LocalServerError as error:
                _log.warning("charts are shown as tables: %s", error)
                await asyncio.sleep(_AGAIN_SECONDS)
