"""Import handler modules from the folder in `AVA_HANDLER_FOLDER`, and from the working folder of `ava start node`.

Any file in a folder that is first on `sys.path` would replace a module of Python or a library, e.g. a `json.py` would
run in every node. So only the modules in `AVA_HANDLERS` are searched there first, and all others last.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

#: The folder to search before the working folder.
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
    """Return the folders of handler modules, in search order."""
    return list(dict.fromkeys(filter(None, (os.environ.get(VARIABLE, "").strip(), os.getcwd()))))


def search(folders: Sequence[str], modules: Iterable[str]) -> None:
    """Search these modules in the folders first, and all other modules there last."""
    names = frozenset(module.partition(".")[0] for module in modules)
    sys.meta_path.insert(0, _HandlerFinder(folders, names))
    sys.path.extend(folder for folder in folders if folder not in sys.path)
