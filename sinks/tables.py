"""DynamoDB tables: how to reach them, make them, and know that one is ours."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from schemas.errors import ConfigError, SinkError
from schemas.secrets import HasCredentials, aws_credentials, mask
from schemas.settings import DynamoDBSettings
from sinks.items import HASH_KEY, RANGE_KEY

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

T = TypeVar("T")

CONNECTIONS = 8
_LOCAL_REGION = "us-east-1"
_LOCAL_CREDENTIAL = "local"
_DENIED = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    }
)


def connect(
    settings: DynamoDBSettings, region: str | None = None, store: HasCredentials | None = None
) -> DynamoDBClient:
    """A client by AWS's usual configuration, or for the endpoint that is set. It does not retry by itself.

    `store` may have credentials of its own. An endpoint on the loopback interface needs neither region nor
    credentials. SinkError without a region, or for credentials that this process can't find.
    """
    session, options = boto3.Session(), dict[str, Any]()
    try:
        options |= aws_credentials(store) if store is not None else {}
    except ConfigError as error:
        raise SinkError(f"DynamoDB can't be used with the credentials that a job names: {error}") from error
    if not options and _is_loopback(settings.endpoint_url):
        # A local server takes any credentials, but wants some; the machine's own role is none of them.
        session._session.get_component("credential_provider").remove("iam-role")
        if session.get_credentials() is None:
            options |= {
                "aws_access_key_id": _LOCAL_CREDENTIAL,
                "aws_secret_access_key": _LOCAL_CREDENTIAL,
            }
    if settings.endpoint_url:
        region = region or session.region_name or _LOCAL_REGION
    config = Config(
        retries={"total_max_attempts": 1},
        max_pool_connections=CONNECTIONS,
        connect_timeout=5,
        read_timeout=15,
    )
    return asked(
        "DynamoDB",
        lambda: session.client(
            "dynamodb", region_name=region, endpoint_url=settings.endpoint_url, config=config, **options
        ),
    )


def home(settings: DynamoDBSettings, region: str | None) -> str:
    """The region that `connect` will use, so that one table has one name; "" for an endpoint that is set,
    which has its tables to itself."""
    return "" if settings.endpoint_url else region or boto3.Session().region_name or ""


def table_exists(client: DynamoDBClient, table: str) -> bool:
    """Whether the table is there. Raises SinkError if that can't be learnt, or if it has other keys."""
    try:
        found = asked(table, lambda: client.describe_table(TableName=table))["Table"]
    except TableMissing:
        return False
    keys = [(key["AttributeName"], key["KeyType"]) for key in found["KeySchema"]]
    if sorted(keys) != [(HASH_KEY, "HASH"), (RANGE_KEY, "RANGE")]:
        raise SinkError(
            f"table {table} has the keys {keys}, not {HASH_KEY} (HASH) and {RANGE_KEY} (RANGE); name another "
            f"table in the job, or delete this one and run `skyfill tables create {table}`"
        )
    return True


def create_table(client: DynamoDBClient, table: str) -> bool:
    """Makes the table, billed on demand, and waits until it can be used. False if it was there. SinkError."""
    if table_exists(client, table):
        return False

    def make() -> None:
        with suppress(client.exceptions.ResourceInUseException):  # another process was quicker
            client.create_table(
                TableName=table,
                KeySchema=[
                    {"AttributeName": HASH_KEY, "KeyType": "HASH"},
                    {"AttributeName": RANGE_KEY, "KeyType": "RANGE"},
                ],
                AttributeDefinitions=[
                    {"AttributeName": HASH_KEY, "AttributeType": "S"},
                    {"AttributeName": RANGE_KEY, "AttributeType": "S"},
                ],
                BillingMode="PAY_PER_REQUEST",
            )
        client.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": 120})

    asked(table, make)
    return True


class TableMissing(SinkError):
    """The table does not exist."""


def asked(table: str, request: Callable[[], T]) -> T:
    """What the request answers; its errors as SinkErrors that say what to do."""
    try:
        return request()
    except (ClientError, BotoCoreError) as error:
        raise explained(table, error) from error


def explained(table: str, error: ClientError | BotoCoreError) -> SinkError:
    """An error that trying again would not end."""
    if isinstance(error, BotoCoreError):
        return SinkError(
            f"DynamoDB can't be used for {table}: {error}. See to the AWS configuration (credentials, "
            f"region), or name an endpoint with SKYFILL_DYNAMODB__ENDPOINT_URL"
        )
    code = error.response.get("Error", {}).get("Code", "")
    if code == "ResourceNotFoundException":
        return TableMissing(f"table {table} does not exist; run `skyfill tables create {table}`")
    if code in _DENIED:
        return SinkError(
            f"DynamoDB denies access to table {table} ({mask(str(error))}); give this process's AWS identity "
            f"DescribeTable, Query, PutItem and PartiQLInsert on it"
        )
    return SinkError(f"DynamoDB refused a request for table {table}: {mask(str(error))}")


def _is_loopback(endpoint_url: str | None) -> bool:
    host = urlsplit(endpoint_url or "").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
