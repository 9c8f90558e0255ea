"""A storm of priority 1 from one tenant during another tenant's jobs of priority 5, without and with a tenant limit.

`python -m chaos.storm [--seconds 30]`. Priorities are strict across tenants, so without a limit none of the other
tenant's jobs starts during the storm. A limit of three quarters of the processes leaves the rest to the other tenant.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.attacks import STORM
from chaos.tenants import PROCESSES, SECRET, honest_tenant, p99
from harness.system import ROOT

#: Max seconds until the last jobs end, and in which 99 of 100 jobs start during a limited storm.
_PATIENCE, _MAX_START_SECONDS = 5.0, 2.0
_MAX_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Storm:
    """The honest tenant's measurements."""

    #: Max running jobs per tenant; 0 means no limit.
    limit: int
    triggered: int
    started: int
    start_p99_seconds: float

    @property
    def holds(self) -> bool:
        """Return True if jobs started soon enough; without a limit nothing is promised."""
        return not self.limit or (self.started == self.triggered and self.start_p99_seconds <= _MAX_START_SECONDS)


def run(seconds: float) -> list[Storm]:
    """Run the storm on a new system without a limit, and on one with three quarters of the processes."""
    return [_measure(limit, min(seconds, _MAX_SECONDS)) for limit in (0, PROCESSES * 3 // 4)]


def _measure(limit: int, seconds: float) -> Storm:
    with honest_tenant({"AVA_TENANT_MAX_RUNNING": str(limit)}) as (honest, _, _):
        command = (sys.executable, "-m", "chaos.attacks", str(honest.port), SECRET, str(seconds + _PATIENCE), STORM)
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as attacker:
            assert attacker.stdout is not None
            attacker.stdout.readline()
            figures = honest.work(seconds, patience=_PATIENCE)
            attacker.communicate(timeout=120)
    return Storm(
        limit=limit,
        triggered=len(figures.triggers) - figures.refused,
        started=len(figures.starts),
        start_p99_seconds=p99(figures.starts),
    )


def table(storms: Sequence[Storm]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| beside a storm of priority 1 | started of priority 5 | start p99 | allowed | holds |",
        "|---|---|---|---|---|",
    ]
    for each in storms:
        name = f"{each.limit} of {PROCESSES} processes for a tenant" if each.limit else "no limit"
        start = f"{each.start_p99_seconds * 1000:.0f} ms" if each.started else "–"
        allowed = f"all, {_MAX_START_SECONDS:g} s" if each.limit else "–"
        holds = "yes" if each.holds else "**NO**"
        lines.append(f"| {name} | {each.started} of {each.triggered} | {start} | {allowed} | {holds} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=_MAX_SECONDS, help="how long the storm lasts, 30 at most")
    storms = run(parser.parse_args().seconds)
    print(table(storms))
    return int(not all(each.holds for each in storms))


if __name__ == "__main__":
    sys.exit(main())
