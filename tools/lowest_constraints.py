"""Prints pip constraints that pin every requirement of setup.cfg to the lower bound of its range.

Fails for a requirement without a lower bound, because no test can say what its range begins with.
"""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\s*(?P<range>[^;]*?)\s*(?P<marker>;.*)?")


def _requirements(config: configparser.ConfigParser) -> list[str]:
    blocks = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    return sorted({line.strip() for block in blocks for line in block.splitlines() if line.strip()})


def _pinned(requirement: str) -> str:
    """Returns `name==version`. Raises SystemExit if the requirement has no lower bound."""
    match = _REQUIREMENT.fullmatch(requirement)
    lower = re.search(r">=\s*([^,\s]+)", match["range"]) if match else None
    if match is None or lower is None:
        sys.exit(f"setup.cfg: {requirement!r} has no lower bound; add one that was tested (name >=1.2)")
    return f"{match['name']}=={lower[1]}{match['marker'] or ''}"


if __name__ == "__main__":
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parent.parent / "setup.cfg")
    sys.stdout.writelines(f"{_pinned(requirement)}\n" for requirement in _requirements(setup))
