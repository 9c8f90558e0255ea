"""Unpack the dashboard's libraries, or check or format its code: `python -m tools.dashboard libraries|check|format`.

npm has installed the packages of `package-lock.json` in this folder beside those of Python: see the Makefile.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent
_STATIC = _ROOT / "ava" / "api" / "static"
_SOURCES = _STATIC / "dashboard"
_PACKAGES = Path(sys.prefix) / "dashboard"
_BIN = _PACKAGES / "node_modules" / ".bin"
#: The files of each library, within its package.
LIBRARIES = {
    "preact": ("LICENSE", "dist/preact.mjs", "hooks/dist/hooks.mjs"),
    "htm": ("LICENSE", "dist/htm.mjs"),
    "uplot": ("LICENSE", "dist/uPlot.esm.js", "dist/uPlot.min.css"),
}
_TYPES = {
    "preact": "preact/src",
    "preact/hooks": "preact/hooks/src",
    "htm": "htm/dist/htm",
    "uplot": "uplot/dist/uPlot",
}
_MAX_COLUMNS = 100


def unpacked(package: str, name: str) -> str:
    """Return the text of a library's file without its link to a source map, which is not shipped."""
    text = (_PACKAGES / "node_modules" / package / name).read_text()
    return re.sub(r"\n//# sourceMappingURL=.*\n?$", "\n", text)


def write_libraries() -> None:
    """Replace the folders of the libraries."""
    for package, names in LIBRARIES.items():
        folder = _STATIC / "libraries" / package
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in names:
            (folder / Path(name).name).write_text(unpacked(package, name))


def check() -> list[str]:
    """Return what is wrong with the code: types, rules, format, width of lines, and edited libraries."""
    edited = [
        f"{package}/{Path(name).name}: edited; run `make libraries`"
        for package, names in LIBRARIES.items()
        for name in names
        if (_STATIC / "libraries" / package / Path(name).name).read_text() != unpacked(package, name)
    ]
    wide = [
        f"{path.relative_to(_ROOT)}:{number}: {len(line)} columns"
        for path in _sources("*.js", "*.css")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > _MAX_COLUMNS
    ]
    return [*edited, *wide, *_biome("check"), *_type_errors()]


def _sources(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in _SOURCES.rglob(pattern))


def _biome(*command: str) -> list[str]:
    configuration = f"--config-path={Path(__file__).parent}"
    done = _run(str(_BIN / "biome"), *command, configuration, "--max-diagnostics=200", *map(str, _sources("*.js")))
    return [done.stdout + done.stderr] if done.returncode else []


def _type_errors() -> list[str]:
    options = json.loads((Path(__file__).parent / "tsconfig.json").read_text())
    modules = _PACKAGES / "node_modules"
    options["compilerOptions"]["paths"] = {name: [str(modules / types)] for name, types in _TYPES.items()}
    options["files"] = [str(path) for path in _sources("*.js")]
    project = _PACKAGES / "tsconfig.json"
    project.write_text(json.dumps(options))
    done = _run(str(_BIN / "tsc"), "--project", str(project), "--pretty", "false")
    return done.stdout.splitlines() if done.returncode else []


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=_ROOT, capture_output=True, text=True, check=False)


def main(command: str) -> None:
    """Run one of the commands; exit with 1 if the check finds anything."""
    if command == "libraries":
        write_libraries()
    elif command == "format":
        _biome("check", "--write")
    elif found := check():
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main(sys.argv[1])
