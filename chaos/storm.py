"""A storm of priority 1 of one tenant beside another's jobs of priority 5, without a limit of each tenant and with one.

`python -m chaos.storm [--seconds 30]`. The order is exact across tenants. So without a limit nothing of the other
tenant starts while the storm lasts. A limit of three quarters of the processes leaves the others to the other tenant.
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

#: Seconds in which the last jobs may end, and within which 99 of 100 jobs start beside a storm that is limited.
_PATIENCE, _MAX_START_SECONDS = 5.0, 2.0
#: Seconds of the storm at most.
_MAX_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Storm:
    """What the honest tenant measured."""

    #: The running jobs of a tenant; 0 means any number.
    limit: int
    triggered: int
    started: int
    start_p99_seconds: float

    @property
    def holds(self) -> bool:
        """Returns True if each job started soon; without a limit nothing is promised."""
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
    """Returns what was found as a table of Markdown."""
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
