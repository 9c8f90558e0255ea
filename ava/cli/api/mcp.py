"""`ava mcp`: bridge an agent that starts its MCP servers over stdio to the API's `POST /mcp`."""

from __future__ import annotations

import json
import sys
import threading
import uuid
from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ava.cli.options.connection import connected
from ava.cli.screen import printing

if TYPE_CHECKING:
    from ava.client import Client

#: Max concurrent requests; further ones wait. A call may wait for its job to end.
_MAX_AT_ONCE = 16
_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_PARSE_ERROR, _INTERNAL_ERROR = -32700, -32603


@click.command()
@connected
def mcp(client: Client) -> None:
    """Run an MCP server on standard input and output, for agents that start their servers themselves.

    Each line is a message, which the command sends to POST /mcp of the API as this caller. Agents that speak HTTP
    need no bridge: give them the API's URL with /mcp, and the key.

    \b
    ava mcp --profile prod
    """
    _Bridge(client, sys.stdin.buffer, sys.stdout.buffer).run()


class _Bridge:
    """Sends one client's lines, each in its own thread, and writes each response when it arrives."""

    def __init__(self, client: Client, lines: BinaryIO, output: BinaryIO) -> None:
        self._client = client
        self._lines = lines
        self._output = output
        self._writing = threading.Lock()
        self._permits = threading.Semaphore(_MAX_AT_ONCE)
        #: The version that an older client and the API agreed on in `initialize`.
        self._version: str | None = None
        self._cancelled: set[object] = set()

    def run(self) -> None:
        """Serve until the input ends and all responses are written."""
        threads: list[threading.Thread] = []
        for line in self._lines:
            if not line.strip():
                continue
            threads = [thread for thread in threads if thread.is_alive()]
            self._permits.acquire()
            threads.append(threading.Thread(target=self._serve, args=(line,), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _serve(self, line: bytes) -> None:
        try:
            self._respond(line)
        finally:
            self._permits.release()

    def _respond(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._write(_error(_PARSE_ERROR, "The line is not JSON, or is nested too deep."))
            return
        if not isinstance(message, dict):
            self._write(_error(_PARSE_ERROR, "The line is not a JSON object."))
            return
        params = _object(message.get("params"))
        if message.get("method") == "notifications/cancelled":
            if isinstance(request_id := params.get("requestId"), str | int):
                self._cancelled.add(request_id)
            return
        found = self._send(line, message, params)
        if message.get("method") == "initialize":
            self._version = _object(found.get("result")).get("protocolVersion")
        if "id" not in message:
            if found:
                printing.print_plain(f"ava: {json.dumps(found.get('error'))}", is_error=True)
            return
        if isinstance(message["id"], str | int) and message["id"] in self._cancelled:
            self._cancelled.discard(message["id"])
            return
        # An HTTP error, such as a wrong key, does not contain the request's id.
        self._write({**found, "id": message["id"]})

    def _send(self, line: bytes, message: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        from ava.client import ClientError

        version = _object(params.get("_meta")).get(_VERSION_KEY, self._version)
        headers = {"Idempotency-Key": str(uuid.uuid4()), "Accept": "application/json, text/event-stream"}
        named = {
            "MCP-Protocol-Version": version,
            "Mcp-Method": message.get("method"),
            "Mcp-Name": params.get("taskId", params.get("name")),
        }
        headers |= {name: _header(value) for name, value in named.items() if isinstance(value, str)}
        try:
            response = self._client.mcp.send(line, headers)
            found = json.loads(response or b"{}")
        except ClientError as error:
            return _error(_INTERNAL_ERROR, str(error))
        except ValueError:
            return _error(
                _INTERNAL_ERROR, "The response is not from AVA Jobs; check that AVA_URL is the URL of its API."
            )
        return dict(_object(found))

    def _write(self, message: Mapping[str, Any]) -> None:
        with self._writing:
            self._output.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            self._output.flush()


def _header(value: str) -> str:
    """Return a header's value, encoded as MCP requires if it is not plain ASCII."""
    is_plain = value.isascii() and value.isprintable() and value.strip() == value
    if is_plain and not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    return f"=?base64?{b64encode(value.encode(errors='replace')).decode()}?="


def _error(code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}}


def _object(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
