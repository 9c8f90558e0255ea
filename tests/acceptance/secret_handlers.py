# ruff: noqa: T201 - what a handler prints is what it leaks
"""Handlers that try to leak a secret in every way that a job has."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from ava import Env, worker


@worker("t_leak", max_retries=1, timeout_seconds=30)
def leak(input: dict[str, Any], env: Env) -> Any:
    """Leak in the way that the input names."""
    secret = env.secrets["TOKEN"]
    env.progress(0.5, f"with {secret}")
    env.log.info("the token is %s in %r", secret, env.secrets)
    print(secret[:7], end="", file=sys.stdout)
    print(secret[7:], file=sys.stdout)
    print(base64.b64encode(f"user:{secret}".encode()).decode(), file=sys.stdout)
    os.environ["TOKEN"] = secret
    subprocess.run([sys.executable, "-c", "import os; print(os.environ['TOKEN'])"], check=True)
    found = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
    os.write(2, f"to the descriptor {secret}\n".encode())
    env.log.warning(found)
    match input.get("how"):
        case "raise":
            raise ValueError(f"refused {secret}")
        case "class":
            raise type(f"E{secret}", (Exception,), {})(secret)
        case "exit":
            raise SystemExit(secret)
        case _:
            return {secret: [secret, {"deep": found}], "config": env["REGION"]}


@worker("t_open_memory", timeout_seconds=30)
def open_memory(input: dict[str, Any]) -> dict[str, list[str]]:
    """Return the processes whose memory a process of this handler may open."""
    program = (
        "import sys\n"
        "for pid in sys.argv[1:]:\n"
        "    try:\n"
        "        open(f'/proc/{pid}/mem', 'rb').close()\n"
        "        print(pid)\n"
        "    except PermissionError:\n"
        "        pass\n"
    )
    pids = [str(pid) for pid in input["pids"]]
    done = subprocess.run([sys.executable, "-c", program, *pids], capture_output=True, text=True, check=True)
    return {"opened": done.stdout.split()}


@dataclass
class Order:
    """What t_typed takes."""

    customer: str
    count: int = 1


@worker("t_typed")
def typed(input: Order, env: Env) -> str:
    """Return the attributes of the input."""
    return f"{input.customer}: {input.count}, {env.get('REGION', '-')}"
