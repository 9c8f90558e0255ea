"""Test each shipped alert in a real Prometheus with its own fault and every other one: `python -m chaos.alerts`.

Real processes on real servers are scraped with the shipped configuration, by a new Prometheus for each fault. A minute
of its rules takes three seconds, and `for` is at most ten minutes. Prints the alerts that fired, and exits with 1 if an
alert did not fire for its fault, or fired for another one. `--fault WORD` selects faults.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import suppress

from chaos.alert_faults import FAULTS, AlertFault
from chaos.alert_scene import Scene, open_scene
from harness.servers.prometheus import running_prometheus
from harness.servers.server import private_folder
from harness.system import SECRET

_FACTOR = 20.0
_MAX_FOR_SECONDS = 600.0
#: Processes that a machine can leave behind in a twentieth of the time.
_COUNTS = {"> 10000": "> 500"}
#: Seconds in which an alert must fire, and in which others may also fire.
_SECONDS, _POLL_SECONDS = 150.0, 6.0
#: Seconds without a fault, after which counters have settled.
_QUIET_SECONDS = 6.0


def _try(scene: Scene, fault: AlertFault) -> tuple[set[str], float]:
    """Return the alerts that fired for a fault, and the seconds until all expected ones did."""
    with running_prometheus(
        scene.targets, secret=SECRET, factor=_FACTOR, max_for_seconds=_MAX_FOR_SECONDS, counts=_COUNTS
    ) as prometheus:
        time.sleep(_QUIET_SECONDS)
        fired: set[str] = set()
        began, complete_at = time.monotonic(), None
        with fault.inject(scene):
            while time.monotonic() - began < _SECONDS:
                fired |= prometheus.firing()
                if complete_at is None and fault.fires <= fired:
                    complete_at = time.monotonic()
                if complete_at is not None and time.monotonic() - complete_at > _POLL_SECONDS:
                    break
                time.sleep(0.5)
        return fired, (complete_at or time.monotonic()) - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", action="append", metavar="WORD", help="only faults whose names contain this")
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if not options.fault or any(word in fault.name for word in options.fault)]
    all_hold = True
    print("| fault | fired after | fired | did not fire | should not have fired |\n|---|---|---|---|---|")
    with private_folder() as folder, open_scene(folder) as scene:
        for fault in chosen:
            try:
                fired, seconds = _try(scene, fault)
            except Exception as problem:
                print(f"| {fault.name} | failed: {problem!r:.300} | | | |", flush=True)
                all_hold = False
                with suppress(Exception):
                    scene.start()
                continue
            missing, wrong = fault.fires - fired, fired - fault.fires - fault.may_fire
            all_hold = all_hold and not missing and not wrong
            cells = (fault.name, f"{seconds:.0f} s", *(", ".join(sorted(of)) for of in (fired, missing, wrong)))
            print(f"| {' | '.join(cells)} |", flush=True)
    return int(not all_hold)


if __name__ == "__main__":
    sys.exit(main())
