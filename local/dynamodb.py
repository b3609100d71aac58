"""DynamoDB Local as a child process, on the loopback interface, its tables kept in a data folder.

Amazon's own launcher listens on every interface of the machine, without any authentication. So Jetty, the
web server inside, is configured directly: the same parts, bound to 127.0.0.1, and no telemetry.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from xml.sax.saxutils import escape

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.folder_lock import folder_lock
from local.java import JarCache, java_command, load_program
from local.ports import HOST, choose_ports, load_ports, port_is_free, save_ports
from local.process import ChildProcess
from schemas.errors import LocalServerError

READY_SECONDS = 60
PORT_ATTEMPTS = 3

# What com.amazonaws.services.dynamodbv2.local.main.ServerRunner of version 2.6.1 builds from
# "-sharedDb -dbPath FOLDER", but for the connector's host. The arguments of LocalDynamoDBRequestHandler: 0,
# in memory, folder, shared, delay transient states. The second one of the server handler: CORS (none).
JETTY_CONFIGURATION = """\
<?xml version="1.0"?>
<!DOCTYPE Configure PUBLIC "-//Jetty//Configure//EN" "https://jetty.org/configure_10_0.dtd">
<Configure id="server" class="org.eclipse.jetty.server.Server">
  <Call name="addConnector">
    <Arg>
      <New class="org.eclipse.jetty.server.ServerConnector">
        <Arg name="server"><Ref refid="server"/></Arg>
        <Set name="host">{host}</Set>
        <Set name="port">{port}</Set>
      </New>
    </Arg>
  </Call>
  <Set name="handler">
    <New class="org.eclipse.jetty.server.handler.ContextHandler">
      <Set name="handler">
        <New class="com.amazonaws.services.dynamodbv2.local.server.LocalDynamoDBServerHandler">
          <Arg>
            <New class="com.amazonaws.services.dynamodbv2.local.server.LocalDynamoDBRequestHandler">
              <Arg type="int">0</Arg>
              <Arg type="boolean">{in_memory}</Arg>
              {folder}
              <Arg type="boolean">true</Arg>
              <Arg type="boolean">false</Arg>
            </New>
          </Arg>
          <Arg type="java.lang.String"></Arg>
        </New>
      </Set>
    </New>
  </Set>
</Configure>
"""


class EmbeddedDynamoDB:
    """DynamoDB Local over ``data_dir``. All credentials and regions see the same tables. ``start`` and
    ``stop`` may run in different event loops, both in the main thread. May be started again after a stop."""

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        log: Path | None = None,
        heap_mb: int = 256,
        in_memory: bool = False,
        jars: JarCache | None = None,
    ) -> None:
        """``port`` is by default the last one, or any free one; ``log`` is by default ``dynamodb.log`` in
        the data folder. ``in_memory`` forgets the tables at the end; on disk, every item waits
        for an fsync."""
        self.data_dir = data_dir
        self.log = log or data_dir / "dynamodb.log"
        self._port = port
        self._heap_mb = heap_mb
        self._in_memory = in_memory
        self._jars = jars or JarCache()
        self._process: ChildProcess | None = None

    @property
    def process(self) -> ChildProcess | None:
        """The server's process, None before the first start."""
        return self._process

    async def start(self) -> str:
        """Start the server and wait until it answers; its endpoint, ``http://127.0.0.1:PORT``.

        One that still runs is stopped first. The first start of all downloads the jars. Raises
        LocalServerError.
        """
        await self.stop()
        folder = await asyncio.to_thread(self._jars.fetch, load_program("dynamodb"))
        tables = (self.data_dir / "tables").absolute()
        tables.mkdir(parents=True, exist_ok=True)
        async with folder_lock(self.data_dir) as lock:
            for attempt in range(1, PORT_ATTEMPTS + 1):
                port = self._choose_port()
                try:
                    await self._launch(folder, tables, port, lock)
                except LocalServerError:
                    # Somebody took the port between our look and the server's bind: look again.
                    if self._port is not None or port_is_free(port) or attempt == PORT_ATTEMPTS:
                        raise
                    continue
                break
        save_ports(self.data_dir / "ports.json", {"dynamodb": port})
        return endpoint_url(port)

    async def stop(self) -> None:
        """Stop the server. Does nothing if it isn't running."""
        if self._process is not None:
            await self._process.stop(grace=10)

    def _folder(self, tables: Path) -> str:
        if self._in_memory:
            return '<Arg type="java.lang.String"/>'
        return f'<Arg type="java.lang.String">{escape(str(tables))}</Arg>'

    def _choose_port(self) -> int:
        remembered = load_ports(self.data_dir / "ports.json")
        if self._port is not None:
            if not port_is_free(self._port):
                raise LocalServerError(
                    f"DynamoDB Local can't listen on port {self._port}: another program does. "
                    "Stop that one or choose another port."
                )
            remembered["dynamodb"] = self._port
        return choose_ports(["dynamodb"], remembered)["dynamodb"]

    async def _launch(self, folder: Path, tables: Path, port: int, lock: int) -> None:
        configuration = self.data_dir / "jetty.xml"
        configuration.write_text(
            JETTY_CONFIGURATION.format(
                host=HOST, port=port, in_memory=str(self._in_memory).lower(), folder=self._folder(tables)
            ),
            encoding="utf-8",
        )
        command = java_command(
            folder, "org.eclipse.jetty.xml.XmlConfiguration", [str(configuration)], heap_mb=self._heap_mb
        )
        self._process = ChildProcess("DynamoDB Local", command, self.log)
        self._process.start(inherit=[lock])
        await self._process.wait_until(
            lambda: asyncio.to_thread(tables_answer, endpoint_url(port)), patience=READY_SECONDS
        )


def endpoint_url(port: int) -> str:
    return f"http://{HOST}:{port}"


def tables_answer(url: str) -> bool:
    """Whether the server at this endpoint answers ListTables."""
    client = boto3.client(
        "dynamodb",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}),
    )
    try:
        client.list_tables(Limit=1)
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True
