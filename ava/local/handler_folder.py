"""Handler modules in the folder in which `ava worker` is started.

Putting that folder first on `sys.path`, as `python -m` does, would let any file in it replace a module of Python or of
a library: a `json.py` there would run in every node. So only the modules that `AVA_HANDLERS` names are looked up there
first, and everything else last.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

__all__ = ["search"]


class _HandlerFinder(MetaPathFinder):
    """Finds the named top-level modules in one folder."""

    def __init__(self, folder: str, names: frozenset[str]) -> None:
        self._folder = folder
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or fullname not in self._names:
            return None
        return PathFinder.find_spec(fullname, [self._folder], target)


def search(folder: str, modules: Iterable[str]) -> None:
    """Look up these modules in a folder first, and all others there last."""
    names = frozenset(module.partition(".")[0] for module in modules)
    sys.meta_path.insert(0, _HandlerFinder(folder, names))
    if folder not in sys.path:
        sys.path.append(folder)
