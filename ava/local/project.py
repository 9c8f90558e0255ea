"""The files of a new project: a handler, its tests, and what packs them."""

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
#: The template of each file. `{module}` is the name of the handler module.
_FILES = {
    "{module}.py": "handlers.py.txt",
    "tests/test_{module}.py": "test_handlers.py.txt",
    "pyproject.toml": "pyproject.toml.txt",
    "Dockerfile": "Dockerfile.txt",
    "README.md": "README.md.txt",
    ".dockerignore": "dockerignore.txt",
    ".gitignore": "gitignore.txt",
}
#: Those of a worker in TypeScript, whose runs are claimed over HTTP.
_TYPESCRIPT_FILES = {
    "src/worker.ts": "worker.ts.txt",
    "package.json": "package.json.txt",
    "tsconfig.json": "tsconfig.json.txt",
    "README.md": "README.md.txt",
    ".gitignore": "gitignore.txt",
}


def create(folder: Path, *, is_typescript: bool = False) -> list[Path]:
    """Write a new project into `folder`, whose name is the project's. Returns the files, relative to the folder.

    `is_typescript`: a worker in TypeScript, in place of handlers in Python.

    Raises `ProjectError` if the name cannot be that of a Python module, if another module has it, or if the folder is
    not empty.
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
