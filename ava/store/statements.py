"""`python -m ava.store.statements [name]`: print the store's statements by their names, each as it is sent.

A statement is a constant of its module: `_CLAIM` of `ava.store.jobs.transitions.claim` is
`jobs.transitions.claim.claim`.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import textwrap

import ava.store
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement


def all_statements() -> dict[str, Statement]:
    found: dict[str, Statement] = {}
    for module in pkgutil.walk_packages(ava.store.__path__, "ava.store."):
        if module.name.startswith("ava.store.migrations") or module.name == __name__:
            continue
        for constant, value in vars(importlib.import_module(module.name)).items():
            statement = value.statement if isinstance(value, Prepared) else value
            if isinstance(statement, Statement):
                found[f"{module.name.removeprefix('ava.store.')}.{constant.strip('_').lower()}"] = statement
    return found


def main() -> None:
    """Print the statements that the command line names, or all."""
    parser = argparse.ArgumentParser(prog="python -m ava.store.statements", description="Print the store's statements.")
    parser.add_argument("name", nargs="?", default="", help="a statement, module or package, as in jobs.runs")
    parser.add_argument("--list", action="store_true", help="print the names only")
    options = parser.parse_args()
    found = {
        name: statement
        for name, statement in all_statements().items()
        if not options.name or f"{name}.".startswith(f"{options.name}.")
    }
    if options.name and not found:
        parser.error(f"there is no statement {options.name}; --list prints the names")
    for name, statement in found.items():
        shown = f"{name}\n" if options.list else f"-- {name}\n{textwrap.dedent(statement).strip()};\n\n"
        sys.stdout.write(shown)


if __name__ == "__main__":
    main()
