"""Which handler module a developer names, and whether one of its files has changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ava.errors import HandlerError
from ava.local import handler_folder

__all__ = ["HandlerFiles", "find"]

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
#: Files that are watched at most, so that a start in a large folder costs little.
_MAX_FILES = 2_000
_LIST_WORKERS = """
import json, sys
from ava.handler import registry
from ava.local import handler_folder
handler_folder.search(handler_folder.folders(), sys.argv[1:])
registry.load(sys.argv[1:])
print(f"\\n{json.dumps(sorted(registry.handlers()))}")
"""
_SKIPPED = frozenset({"__pycache__", "node_modules", "venv", "build", "dist"})


@dataclass(frozen=True, kw_only=True)
class HandlerFiles:
    """A handler module, and the folder from which it is imported."""

    module: str
    folder: Path

    def moments(self) -> dict[str, int]:
        """Returns when each Python file below the folder was written, in nanoseconds since 1970, for 2,000 files."""
        found: dict[str, int] = {}
        for folder, below, names in os.walk(self.folder):
            below[:] = sorted(name for name in below if name not in _SKIPPED and not name.startswith("."))
            for name in sorted(names):
                if name.endswith(".py") and len(found) < _MAX_FILES:
                    path = os.path.join(folder, name)
                    try:
                        found[path] = os.stat(path).st_mtime_ns
                    except OSError:
                        continue
        return found

    def worker_ids(self, environ: Mapping[str, str]) -> list[str]:
        """Import the module in a process of its own. Returns the ids of the workers that it declares.

        Raises `HandlerError` if it cannot be imported, or if it declares none.
        """
        command = [sys.executable, "-P", "-c", _LIST_WORKERS, self.module]
        environ = {**environ, handler_folder.VARIABLE: str(self.folder)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"the module {self.module!r} ended Python"])[-1]
            raise HandlerError(reason.removeprefix("ava.errors.HandlerError: "))
        found: list[str] = json.loads(done.stdout.splitlines()[-1])
        if not found:
            raise HandlerError(f"The module {self.module!r} declares no worker; declare one with @worker.")
        return found


def find(target: str) -> HandlerFiles:
    """Returns the module that `target` names: a file, `handlers.py`, or a module, `shop.handlers`.

    Raises `HandlerError` if it is neither.
    """
    path = Path(target)
    if path.suffix == ".py" or os.sep in target:
        if not path.is_file():
            raise HandlerError(f"There is no file {target}; name a Python file or a module with handlers.")
        module, folder = path.stem, path.absolute().parent
    else:
        module, folder = target, Path.cwd()
    if not _MODULE.fullmatch(module):
        raise HandlerError(f"{target!r} cannot be imported as a module, because of its name.")
    return HandlerFiles(module=module, folder=folder)
