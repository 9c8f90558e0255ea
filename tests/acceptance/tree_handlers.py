"""Handlers whose jobs make trees, for the tests of what shows them."""

from __future__ import annotations

import os
import time
from typing import Any

from ava import Env, worker

Input = dict[str, Any]


@worker("crawl", name="Crawl", description="Reads the pages of a site, then waits for a file.")
def crawl(input: Input, env: Env) -> dict[str, int]:
    """Keep a step, make a child for each page, wait for them, and then for one that ends when a file exists."""
    pages = env.step("list pages", lambda: [f"page {n}" for n in range(input["pages"])])
    sizes = env.map("wkr_fetch", ({"page": page} for page in pages), return_exceptions=True)
    gate = env.trigger("wkr_gate", {"until": input.get("until")}, key="approval")
    env.wait(gate)
    return {"pages": len(sizes)}


@worker("fetch", name="Fetch", description="Reads a page.")
def fetch(input: Input, env: Env) -> int:
    """Take a moment."""
    time.sleep(0.05)
    if input.get("page") == "page 2":
        raise ConnectionError("the site does not answer")
    return len(input.get("page", ""))


@worker("gate", name="Gate", description="Ends when a file exists.")
def gate(input: Input, env: Env) -> None:
    """Wait in the process."""
    while input.get("until") and not os.path.exists(input["until"]):
        time.sleep(0.05)
