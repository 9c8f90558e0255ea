"""The files of a new project: a handler, its tests, and packaging."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path
from string import Template

from ava.errors import ProjectError

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,57}")
_PYTHON = Path(__file__).with_name("project_files")
_TYPESCRIPT = Path(__file__).with_name("typescript_files")
#: `{module}` is the handler module's name.
_FILES = {
    "{module}.py": "handlers.py.txt",
    "tests/test_{module}.py": "test_handlers.py.txt",
    "pyproject.toml": "pyproject.toml.txt",
    "Dockerfile": "Dockerfile.txt",
    "README.md": "README.md.txt",
    ".dockerignore": "dockerignore.txt",
    ".gitignore": "gitignore.txt",
}
#: The same for a TypeScript pull worker.
_TYPESCRIPT_FILES = {
    "src/worker.ts": "worker.ts.txt",
    "package.json": "package.json.txt",
    "tsconfig.json": "tsconfig.json.txt",
    "README.md": "README.md.txt",
    ".gitignore": "gitignore.txt",
}


def create(folder: Path, *, is_typescript: bool = False) -> list[Path]:
    """Write a new project, named like `folder`, into it. Return the files, relative to the folder.

    `is_typescript`: a worker in TypeScript instead of handlers in Python.

    Raise `ProjectError` if the name is not valid or already used for a Python module, or the folder is not empty.
    """
    name = folder.name
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name) or keyword.iskeyword(module):
        raise ProjectError(f"{name!r} cannot be a project: it must match {_NAME.pattern} and be no keyword of Python.")
    if module in sys.stdlib_module_names or module in ("ava", "workers", "tests"):
        raise ProjectError(f"{name!r} cannot be a project, because another Python module has this name.")
    names = {"name": name, "module": module}
    created = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ProjectError(f"{folder} is not empty; choose another name.")
        templates = _TYPESCRIPT if is_typescript else _PYTHON
        for path, template in (_TYPESCRIPT_FILES if is_typescript else _FILES).items():
            file = folder / path.format(module=module)
            file.parent.mkdir(exist_ok=True)
            file.write_text(Template((templates / template).read_text()).substitute(names))
            created.append(file.relative_to(folder))
    except OSError as problem:
        raise ProjectError(f"{folder} cannot be written: {problem.strerror}.") from problem
    return created
