"""DynamoDB Local behind an HTTP server that throttles on request, which the real one can't be made to do."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

Answer = tuple[int, dict[str, Any]]
Fault = Callable[[str, dict[str, Any]], Answer | None]
"""Given an operation and its body, which it may change, an answer instead of the server's, or None."""


class Proxy:
    """`url` to connect to; `fault` decides; `operations` counts what was asked."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.operations: Counter[str] = Counter()
        self.fault: Fault = lambda operation, body: None
        self.halving = False
        """Whether of each batch only the first half is processed."""
        self.url = ""
        self.lock = threading.Lock()

    def throttle(self, times: int, *operations: str) -> None:
        """The next `times` of these operations are refused."""
        left = [times]

        def fault(operation: str, body: dict[str, Any]) -> Answer | None:
            if operation not in operations or left[0] <= 0:
                return None
            left[0] -= 1
            return 400, {"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "slow"}

        self.fault = fault

    def forward(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """The real server's answer."""
        request = urllib.request.Request(self.endpoint, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


@contextmanager
def proxied(endpoint: str) -> Iterator[Proxy]:
    """A proxy on the loopback interface."""
    proxy = Proxy(endpoint)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].split(".")[1]
            with proxy.lock:
                proxy.operations[operation] += 1
                left = split_off(proxy, operation, body)
                answer = proxy.fault(operation, body)
            if answer is not None:
                status, data = answer[0], orjson.dumps(answer[1])
            else:
                headers = {
                    k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length")
                }
                status, data = proxy.forward(headers | {"Accept-Encoding": "identity"}, orjson.dumps(body))
                if left and status == 200:
                    throttled = [{"Error": {"Code": "ThrottlingError", "Message": "slow"}}] * left
                    data = orjson.dumps({"Responses": orjson.loads(data)["Responses"] + throttled})
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def split_off(proxy: Proxy, operation: str, body: dict[str, Any]) -> int:
    """Where asked for: how many statements of a batch, from its end, are to be answered as throttled."""
    if operation != "BatchExecuteStatement" or not proxy.halving:
        return 0
    statements = body["Statements"]
    half = (len(statements) + 1) // 2
    body["Statements"] = statements[:half]
    return len(statements) - half
