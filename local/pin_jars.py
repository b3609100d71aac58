"""Write ``jars.json`` anew: ``python -m local.pin_jars``. Run by a maintainer who raises a version.

Resolves the programs' dependencies with jgo (about a minute each) and records every file's SHA-256, so that
no user's machine ever resolves anything.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from jgo.parse import Coordinate

from local.java import PINS, Jar, MavenRepository, sha256_of

KAFKA = "4.1.1"
DYNAMODB = "2.6.1"
UPLOT = "1.6.30"
SWAGGER_UI = "5.17.14"
SQLITE4JAVA = "1.0.392"
# Raised together with DYNAMODB: the version of Jetty that it depends on.
JETTY = "12.0.14"

ROOTS = {
    "kafka": (
        f"Kafka {KAFKA}",
        [
            f"org.apache.kafka:kafka_2.13:{KAFKA}",
            # Named, because a logging BOM among the dependencies would choose an older one.
            f"org.apache.kafka:kafka-clients:{KAFKA}",
            "org.slf4j:slf4j-simple:1.7.36",
        ],
    ),
    # No program, but the chart library of the dashboard, which no small Python package brings.
    "charts": (f"uPlot {UPLOT}", [f"org.webjars.npm:uplot:{UPLOT}"]),
    # Likewise: what shows the API's description, without a request to anybody else.
    "api-docs": (f"Swagger UI {SWAGGER_UI}", [f"org.webjars:swagger-ui:{SWAGGER_UI}"]),
    # "!" is jgo's for: take none of this one's dependencyManagement (it would bring in JUnit).
    "dynamodb": (
        f"DynamoDB Local {DYNAMODB}",
        [f"com.amazonaws:DynamoDBLocal:{DYNAMODB}", f"org.eclipse.jetty:jetty-xml:{JETTY}!"],
    ),
}
NATIVE = {
    "dynamodb": {
        "linux-x86_64": f"com.almworks.sqlite4java:libsqlite4java-linux-amd64:so:{SQLITE4JAVA}",
        "darwin-x86_64": f"com.almworks.sqlite4java:libsqlite4java-osx:dylib:{SQLITE4JAVA}",
        "darwin-arm64": f"io.github.ganadist.sqlite4java:libsqlite4java-osx-aarch64:dylib:{SQLITE4JAVA}",
    }
}

logger = logging.getLogger(__name__)


def resolve(maven: MavenRepository, roots: list[str]) -> list[str]:
    """The coordinates of the roots and of all jars that they need at run time."""
    wanted = [
        maven.context.create_dependency(replace(Coordinate.parse(root), scope="compile")) for root in roots
    ]
    inputs, transitive = maven.context.resolver.resolve(wanted)
    found = [*inputs, *(d for d in transitive if d.scope in ("compile", "runtime") and not d.optional)]
    return [f"{d.groupId}:{d.artifactId}:jar:{d.version}" for d in found if d.type == "jar"]


def pin(maven: MavenRepository, coordinate: str, platform: str | None = None) -> Jar:
    """Download the file and describe it."""
    logger.info("%s", coordinate)
    file = maven.locate(coordinate)
    return Jar(coordinate, sha256_of(file), file.stat().st_size, platform)


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    programs = {}
    with tempfile.TemporaryDirectory() as scratch:
        maven = MavenRepository(Path(scratch))
        for name, (title, roots) in ROOTS.items():
            jars = [pin(maven, coordinate) for coordinate in resolve(maven, roots)]
            jars += [pin(maven, coordinate, system) for system, coordinate in NATIVE.get(name, {}).items()]
            programs[name] = {
                "title": title,
                "jars": [{key: value for key, value in asdict(jar).items() if value} for jar in jars],
            }
    PINS.write_text(json.dumps(programs, indent=1) + "\n")


if __name__ == "__main__":
    main()
