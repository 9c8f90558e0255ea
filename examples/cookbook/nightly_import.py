"""Import the feeds of all accounts each night, at most two of an account at a time."""

import time
from dataclasses import dataclass
from typing import Any

from ava import Env, worker

FEEDS = {"acme": ["orders", "refunds", "stock", "prices"], "globex": ["orders"]}


@dataclass
class Feed:
    account: str
    name: str


@worker(max_running=2, max_running_per="input.account", max_retries=5)
def import_feed(input: Feed) -> int:
    print(f"Importing {input.name} of {input.account}")
    time.sleep(0.2)  # a request to the account's server
    return 1000


@worker(schedule="0 3 * * *", timezone="Europe/Berlin", schedule_tenant="ten_01hxyz")
def nightly_import(input: dict[str, Any], env: Env) -> dict[str, int]:
    feeds = [Feed(account, name) for account, names in FEEDS.items() for name in names]
    rows = env.map(import_feed, feeds)
    print(f"{sum(rows)} rows of {len(rows)} feeds")
    return {"feeds": len(rows), "rows": sum(rows)}
