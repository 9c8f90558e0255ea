"""What a leaked secret looks like, and where it could be stored: for tests whose jobs try to leak one."""

from __future__ import annotations

import base64

import psutil

from harness.system import MARK, System, carries

#: The ways in which `wkr_t_leak` ends.
WAYS = ("return", "raise", "class", "exit")


def forms(secret: str) -> set[str]:
    """Return the strings that reveal a secret: itself, its beginning, and its base64 at each alignment."""
    encoded = set()
    for before in range(3):
        # Omit digits that depend on adjacent characters.
        digits = base64.b64encode(b"\0" * before + secret.encode()).decode().rstrip("=")
        encoded.add(digits[-(-before * 8 // 6) : -2])
    return {secret, secret[:12], *encoded}


def stored_strings(system: System) -> dict[str, str]:
    """Return everything in a system that outlasts a job: tables, logs, metrics, and process titles."""
    tables = system.query("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    sources = {name: str(system.query(f"SELECT t::text FROM {name} AS t")) for (name,) in tables}
    sources |= {process.log.name: process.output for process in system.processes}
    return sources | {"metrics": system.get("/metrics").text, "titles of now": "\n".join(_titles(system))}


def _titles(system: System) -> set[str]:
    found = set()
    for process in psutil.process_iter():
        if carries(process, system.environ[MARK]):
            try:
                found.add(" ".join(process.cmdline()))
            except psutil.Error:
                continue
    return found
