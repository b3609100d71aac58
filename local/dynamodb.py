"""DynamoDB Local as a child process, on the loopback interface, its tables kept in a data folder.

Amazon's own launcher listens on every interface of the machine, without any authentication. So Jetty, the
web server inside, is configured directly: the same parts, bound to 127.0.0.1, and no telemetry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.java import JarCache, java_command, load_program
from local.ports import HOST
from local.process import ChildProcess
from local.server import EmbeddedServer

READY_SECONDS = 60

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


class EmbeddedDynamoDB(EmbeddedServer):
    """DynamoDB Local over ``data_dir``. All credentials and regions see the same tables."""

    title = "DynamoDB Local"
    port_names = ("dynamodb",)

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
        super().__init__(data_dir, port=port, log=log or data_dir / "dynamodb.log")
        self._heap_mb = heap_mb
        self._in_memory = in_memory
        self._jars = jars or JarCache()
        self._program = Path()

    async def _prepare(self) -> None:
        """The first start of all downloads the jars."""
        self._program = await asyncio.to_thread(self._jars.fetch, load_program("dynamodb"))

    def _address(self, ports: Mapping[str, int]) -> str:
        return endpoint_url(ports["dynamodb"])

    def _folder(self, tables: Path) -> str:
        if self._in_memory:
            return '<Arg type="java.lang.String"/>'
        return f'<Arg type="java.lang.String">{escape(str(tables))}</Arg>'

    async def _launch(self, ports: Mapping[str, int], lock: int) -> None:
        folder, port = self._program, ports["dynamodb"]
        tables = (self.data_dir / "tables").absolute()
        tables.mkdir(parents=True, exist_ok=True)
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
