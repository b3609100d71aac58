"""Files of browser libraries from their pinned webjars: fetched once, checked, and served from here alone."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Sequence

from local.java import JarCache, load_program
from schemas.errors import LocalServerError


class WebJar:
    """Some files of one program of `local/jars.json`. Life: made, `files` whenever they are wanted."""

    def __init__(self, program: str, folder: str, names: Sequence[str], jars: JarCache | None = None) -> None:
        """`folder` is inside the jar, `{version}` in it the jar's version; `jars`: where the jar is kept."""
        self._program, self._folder, self._names = program, folder, tuple(names)
        self._jars = jars
        self._files: dict[str, bytes] | None = None
        self._fetching = asyncio.Lock()

    async def files(self) -> dict[str, bytes]:
        """The files by name; the first time it may be downloaded. LocalServerError where it can't be had."""
        async with self._fetching:
            if self._files is None:
                self._files = await asyncio.to_thread(self._unpack)
            return self._files

    def _unpack(self) -> dict[str, bytes]:
        program = load_program(self._program)
        jar = program.jars[0]
        try:
            folder = (self._jars or JarCache()).fetch(program)
            inside = self._folder.format(version=jar.coordinate.split(":")[-1])
            with zipfile.ZipFile(folder / jar.file_name) as archive:
                return {name: archive.read(f"{inside}/{name}") for name in self._names}
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise LocalServerError(f"{program.title} can't be read from its jar: {error}") from error
