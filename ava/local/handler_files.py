"""Which handler module a developer names, and which files decide on what its handlers do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ava.domain.text import did_you_mean
from ava.errors import HandlerError
from ava.local import handler_folder

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
#: Files below the folder that are watched at most, so that a start in a large folder costs little. Those that the
#: handlers have imported are watched beside them.
_MAX_FILES = 2_000
#: Prints the schemas of the workers, and the files that were imported: neither Python's own nor those of packages.
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
#: A folder that has one of these is an environment of Python, whatever its name is.
_OF_ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")


@dataclass(frozen=True, kw_only=True)
class LoadedHandlers:
    """What the import of a handler module has shown."""

    #: The JSON Schema of the input of each worker that it declares, as text, by id; None if it takes any object.
    schemas: dict[str, str | None]
    #: The paths of the modules that it has imported, itself among them, without those of Python and of packages.
    files: list[str]

    @property
    def worker_ids(self) -> list[str]:
        """Returns the ids of the workers, in their order."""
        return list(self.schemas)


@dataclass(frozen=True, kw_only=True)
class HandlerFiles:
    """A handler module, and the folder from which it is imported."""

    module: str
    folder: Path

    def moments(self, imported: Collection[str]) -> dict[str, int]:
        """Returns when each watched file was written, in nanoseconds since 1970.

        Watched are the files that were `imported`, and up to 2,000 Python files below the folder.
        """
        found = dict.fromkeys(imported, 0)
        for folder, below, names in os.walk(self.folder):
            below[:] = sorted(name for name in below if _may_hold_handlers(folder, name))
            paths = [os.path.join(folder, name) for name in sorted(names) if name.endswith(".py")]
            found |= dict.fromkeys(paths[: max(0, _MAX_FILES + len(imported) - len(found))], 0)
        return {path: moment for path in found if (moment := _moment(path)) is not None}

    def load(self, environ: Mapping[str, str]) -> LoadedHandlers:
        """Import the module in a process of its own.

        Raises `HandlerError` if it cannot be imported, or if it declares no worker.
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


def _moment(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _cure(reason: str) -> str:
    if "no known parent package" not in reason:
        return ""
    return "; add an empty __init__.py beside it, so that it is a module of a package"


def find(target: str) -> HandlerFiles:
    """Returns the module that `target` names: a file, `handlers.py`, or a module, `shop.handlers`.

    A file in a package, whose folder has an `__init__.py`, is imported as a module of the package, so that its relative
    imports work. Raises `HandlerError` if it is neither.
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
    """Returns the folder of a module at the top: the working folder, or `src` in it if the module is only there."""
    here = Path.cwd()
    found = [folder for folder in (here, here / "src") if (folder / name).is_dir() or (folder / f"{name}.py").is_file()]
    return found[0] if found else here


def _module_of(path: Path) -> tuple[str, Path]:
    """Returns the name under which a file is imported, and the folder that holds the file or its outermost package."""
    names = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return ".".join(names), folder
