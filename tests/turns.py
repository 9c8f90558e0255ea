"""Which tests one tester runs one after the other, and when they begin.

With `--dist loadfile` each file is one tester's, and files begin in the order of the tests. Acceptance tests mostly
wait and the others mostly compute, so files of both kinds alternate. The others are brief, so they also end the run:
then all testers end at about the same time.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

#: Folders whose files share a running system, so one tester runs all of them. They begin first, because together they
#: take longer than any file.
FOLDERS = ("tests/acceptance/dashboard/",)
_ACCEPTANCE = Path(__file__).parent / "acceptance"
#: The share of the other files that begin beside those of the acceptance tests.
_BESIDE = 0.6


class Scheduling(LoadFileScheduling):
    """Gives each file to one tester, and the files of `FOLDERS` to the same."""

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in FOLDERS if nodeid.startswith(folder)), super()._split_scope(nodeid))


def sort(items: list[pytest.Item]) -> None:
    """Sort tests by their file, in place. Files of a ring keep the order among them."""
    files = list(dict.fromkeys(item.path for item in items))
    slow = [path for path in files if path.parent == _ACCEPTANCE]
    first = [path for path in files if _ACCEPTANCE in path.parents and path.parent != _ACCEPTANCE]
    brief = [path for path in files if _ACCEPTANCE not in path.parents]
    turns = dict.fromkeys(first, -1.0)
    turns |= {path: number / len(slow) for number, path in enumerate(slow)}
    turns |= {path: (number + 0.5) / (_BESIDE * len(brief)) for number, path in enumerate(brief)}
    places = {path: place for place, path in enumerate(sorted(files, key=turns.__getitem__))}
    items.sort(key=lambda item: places[item.path])
