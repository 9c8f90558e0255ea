"""Find a developer's handler module, and the files that its handlers depend on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ava.domain.strings import did_you_mean
from ava.errors import HandlerError
from ava.local import handler_folder

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
#: Watched files below the folder, so that a start in a large folder is cheap. Imported files are always watched.
_MAX_FILES = 2_000
#: Prints the workers' schemas, and the imported files without Python's and packages' files.
_LIST_WORKERS = """
import json, sys, sysconfig
from pathlib import Path
from ava.handler import registry
from ava.local import handler_folder
handler_folder.search(handler_folder.folders(), sys.argv[1:])
known = set(sys.modules)
registry.load(sys.argv[1:])
names = [getattr(sys.modules[name], "__file__", None) or "" for name in set(sys.modules) - known]
python = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
own = {n for n in names if n.endswith(".py") and not n.startswith(python)
       and not {"site-packages", "dist-packages"} & set(Path(n).parts)}
schemas = {each: handler.spec.input_schema_json for each, handler in sorted(registry.handlers().items())}
print(f"\\n{json.dumps([schemas, sorted(own)])}")
"""
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist"})
#: A folder with such a file is a Python environment, whatever its name.
_OF_ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")


@dataclass(frozen=True, kw_only=True)
class LoadedHandlers:
    #: The serialized JSON Schema of each declared worker's input, by id; None if any object is accepted.
    schemas: dict[str, str | None]
    #: The imported modules, including itself, without Python's and packages' modules.
    files: list[str]

    @property
    def worker_ids(self) -> list[str]:
        return list(self.schemas)


@dataclass(frozen=True, kw_only=True)
class HandlerFiles:
    """A handler module, and the folder that it is imported from."""

    module: str
    folder: Path

    def timestamps(self, imported: Collection[str]) -> dict[str, int]:
        """Return each watched file's modification time, in nanoseconds since 1970.

        Watched are the `imported` files, and up to 2,000 Python files below the folder.
        """
        found = dict.fromkeys(imported, 0)
        for folder, below, names in os.walk(self.folder):
            below[:] = sorted(name for name in below if _may_hold_handlers(folder, name))
            paths = [os.path.join(folder, name) for name in sorted(names) if name.endswith(".py")]
            found |= dict.fromkeys(paths[: max(0, _MAX_FILES + len(imported) - len(found))], 0)
        return {path: timestamp for path in found if (timestamp := _timestamp(path)) is not None}

    def load(self, environ: Mapping[str, str]) -> LoadedHandlers:
        """Import the module in a separate process.

        Raise `HandlerError` if the import fails, or it declares no worker.
        """
        command = [sys.executable, "-P", "-c", _LIST_WORKERS, self.module]
        environ = {**environ, handler_folder.VARIABLE: str(self.folder)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"the module {self.module!r} ended Python"])[-1]
            raise HandlerError(reason.removeprefix("ava.errors.HandlerError: ") + _cure(reason))
        schemas, files = json.loads(done.stdout.splitlines()[-1])
        if not schemas:
            raise HandlerError(f"The module {self.module!r} declares no worker; declare one with @worker.")
        return LoadedHandlers(schemas=schemas, files=files)


def _may_hold_handlers(folder: str, name: str) -> bool:
    if name in _SKIPPED or name.startswith("."):
        return False
    return not any(os.path.exists(os.path.join(folder, name, sign)) for sign in _OF_ENVIRONMENTS)


def _timestamp(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _cure(reason: str) -> str:
    if "no known parent package" not in reason:
        return ""
    return "; add an empty __init__.py to its folder to make it a module of a package"


def find(target: str) -> HandlerFiles:
    """Return the module of `target`: a file, `handlers.py`, or a module name, `shop.handlers`.

    A file in a package (its folder has an `__init__.py`) is imported as the package's module, so that its relative
    imports work. Raise `HandlerError` if it is neither.
    """
    path = Path(target)
    if path.suffix == ".py" or os.sep in target:
        if not path.is_file():
            beside = [str(path.with_name(each.name)) for each in path.parent.glob("*.py")] if path.suffix else []
            meant = did_you_mean(target, beside)
            raise HandlerError(f"There is no file {target}; name a Python file or a module with handlers.{meant}")
        module, folder = _module_of(path.absolute())
    else:
        module, folder = target, _folder_of(target.partition(".")[0])
    if not _MODULE.fullmatch(module):
        raise HandlerError(f"{target!r} cannot be imported as a module, because of its name.")
    return HandlerFiles(module=module, folder=folder)


def _folder_of(name: str) -> Path:
    """Return the folder of a top-level module: the working folder, or its `src` if the module is only there."""
    here = Path.cwd()
    found = [folder for folder in (here, here / "src") if (folder / name).is_dir() or (folder / f"{name}.py").is_file()]
    return found[0] if found else here


def _module_of(path: Path) -> tuple[str, Path]:
    """Return the import name of a file, and the folder that contains the file or its outermost package."""
    names = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return ".".join(names), folder
