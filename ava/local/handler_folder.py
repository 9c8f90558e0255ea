"""Handler modules in the folder that `AVA_HANDLER_FOLDER` names, and in the one in which `ava worker` is started.

Putting such a folder first on `sys.path`, as `python -m` does, would let any file in it replace a module of Python or
of a library: a `json.py` there would run in every node. So only the modules that `AVA_HANDLERS` names are looked up
there first, and everything else last.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

#: Names the folder in which handler modules are looked up before the working folder.
VARIABLE = "AVA_HANDLER_FOLDER"


class _HandlerFinder(MetaPathFinder):
    """Finds the named top-level modules in some folders."""

    def __init__(self, folders: Sequence[str], names: frozenset[str]) -> None:
        self._folders = folders
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or fullname not in self._names:
            return None
        return PathFinder.find_spec(fullname, self._folders, target)


def folders() -> list[str]:
    """Returns the folders of handler modules, in the order of the search."""
    return list(dict.fromkeys(filter(None, (os.environ.get(VARIABLE, "").strip(), os.getcwd()))))


def search(folders: Sequence[str], modules: Iterable[str]) -> None:
    """Look up these modules in the folders first, and all others there last."""
    names = frozenset(module.partition(".")[0] for module in modules)
    sys.meta_path.insert(0, _HandlerFinder(folders, names))
    sys.path.extend(folder for folder in folders if folder not in sys.path)
