"""An agent: a loop around a model, which calls workers as tools."""

import json
import os
import uuid
from typing import Any

from ava.client import Client


def model(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a tool call or an answer. This stub follows a script; call your model here."""
    results = [json.loads(message["content"]) for message in messages if message["role"] == "tool"]
    if not results:
        return {"tool": "find_order", "arguments": {"order": "o-17"}}
    if len(results) == 1:
        return {"tool": "refund_order", "arguments": {"order": "o-17", "cents": results[0]["cents"]}}
    return {"answer": f"I have refunded {results[1]['refunded']} cents."}


def call(client: Client, method: str, key: str, **params: Any) -> Any:
    request = {"jsonrpc": "2.0", "id": key, "method": f"tools/{method}", "params": params}
    response = json.loads(client.mcp.send(json.dumps(request).encode(), {"Idempotency-Key": key}))
    return response["result"]


with Client(os.environ["AVA_URL"], api_key=os.environ["AVA_API_KEY"]) as client:
    conversation = str(uuid.uuid4())
    tools = call(client, "list", conversation)["tools"]
    messages = [{"role": "user", "content": "Refund order o-17, please."}]
    while "answer" not in (step := model(messages, tools)):
        key = f"{conversation}-{len(messages)}"
        result = call(client, "call", key, name=step["tool"], arguments=step["arguments"])
        messages.append({"role": "tool", "content": result["content"][0]["text"]})
        print(step["tool"], step["arguments"], "->", messages[-1]["content"])
    print(step["answer"])
