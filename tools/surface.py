"""`python -m tools.surface`: the routes, commands, settings and metrics of this release, one a line.

Two releases are compared by `diff`: a change of the code that adds no feature changes no line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ava.cli.main import cli
from tools.openapi import description

_AVA = Path(__file__).parent.parent / "ava"
_METRIC = re.compile(r'"(ava_[a-z_]+)"')
_SETTING = re.compile(r'"((?:AVA_[A-Z0-9_]+)|DATABASE_URL|DATABASE_POOL_URL|BROKER_URL)"')


def routes(document: dict[str, Any]) -> Iterator[str]:
    """Return the operations of an OpenAPI description with their parameters."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            names = sorted(each.get("name", each.get("$ref", "")) for each in operation.get("parameters", ()))
            yield f"route {method.upper()} {path} {' '.join(names)}"


def commands(group: click.Command, path: str = "ava") -> Iterator[str]:
    """Return the commands below a group with their options."""
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            if (found := group.get_command(context, name)) is not None:
                yield from commands(found, f"{path} {name}")
        return
    yield f"command {path} {' '.join(sorted(option for each in group.params for option in each.opts))}"


def found(pattern: re.Pattern[str], *folders: str) -> set[str]:
    """Return the names that a pattern finds in the Python files of folders of `ava/`."""
    files = (path for folder in folders for path in (_AVA / folder).rglob("*.py"))
    return {name for path in files for name in pattern.findall(path.read_text())}


def main() -> None:
    """Print the lines, sorted."""
    lines = [*routes(description()), *commands(cli)]
    lines += [f"setting {name}" for name in found(_SETTING, ".")]
    lines += [f"metric {name}" for name in found(_METRIC, "metrics", "delivery", "node", "api")]
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    main()
