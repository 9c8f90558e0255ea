"""Prints the size of the code as figures, as information: no number is a failure.

Lines by room, statements that move a job, attributes of the largest classes, constants of seconds. A change that adds
to one of them says why (CONTRIBUTING.md).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Classes that are shown.
_LARGEST = 5
_MOVES_JOB = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM)\s+jobs\b")
_SECONDS = re.compile(r"^(_?[A-Z][A-Z0-9_]*_SECONDS\w*)(?:: \w+)? = ", re.MULTILINE)
_CLASS = re.compile(r"class (\w+)")
#: The left side of an assignment to attributes of `self`.
_ASSIGNED = re.compile(r" +(self\.\w+(?:: [^=]+)?(?:, self\.\w+)*) (?:[-+*/|&]|//)?= ")
_NAME = re.compile(r"self\.(\w+)")


def lines_by_folder(paths: Iterable[Path], root: Path) -> Counter[str]:
    """Returns the number of lines of each room of a package; `.` has the files beside the rooms."""
    found: Counter[str] = Counter()
    for path in paths:
        folder, *rest = path.relative_to(root).parts
        found[folder if rest else "."] += len(path.read_text().splitlines())
    return found


def moves(statements: Mapping[str, str]) -> dict[str, list[str]]:
    """Returns the names of the statements that insert, update or delete rows of `jobs`, by that verb."""
    found: dict[str, list[str]] = {"INSERT": [], "UPDATE": [], "DELETE": []}
    for name, sql in statements.items():
        for verb in sorted({each.split()[0] for each in _MOVES_JOB.findall(sql)}):
            found[verb].append(name)
    return found


def attributes(source: str) -> dict[str, int]:
    """Returns the number of attributes of each class of a module: those of `self` that its methods assign."""
    found: dict[str, set[str]] = {}
    for line in source.splitlines():
        if of_class := _CLASS.match(line):
            names = found.setdefault(of_class[1], set())
        elif line[:1].isalpha():
            # The class is over.
            names = set()
        elif assigned := _ASSIGNED.match(line):
            names.update(_NAME.findall(assigned[1]))
    return {name: len(names) for name, names in found.items()}


def constants_of_seconds(source: str) -> list[str]:
    """Returns the constants of a module that are a number of seconds, by their names."""
    return _SECONDS.findall(source)


def main() -> None:
    """Print the figures of `ava/`."""
    from ava.store import statements

    paths = sorted(path for path in (ROOT / "ava").rglob("*.py"))
    sources = [path.read_text() for path in paths]
    lines = lines_by_folder(paths, ROOT / "ava")
    print(
        f"Lines of ava/ ({lines.total():,}):", ", ".join(f"{folder} {count:,}" for folder, count in lines.most_common())
    )
    found = moves(statements.all_statements())
    print("Statements that move a job:", ", ".join(f"{verb} {len(names)}" for verb, names in found.items()))
    classes = [each for source in sources for each in attributes(source).items()]
    largest = sorted(classes, key=lambda each: each[1], reverse=True)[:_LARGEST]
    print("Attributes of the largest classes:", ", ".join(f"{name} {count}" for name, count in largest))
    print("Constants of seconds:", sum(len(constants_of_seconds(source)) for source in sources))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
