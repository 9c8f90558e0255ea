"""The dashboard's formatters and reducers, in node's own test runner; its libraries, and what it may weigh."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

from harness.system import ROOT
from tests import npm

STATIC = ROOT / "ava" / "api" / "static"
_DASHBOARD = STATIC / "dashboard"
_TESTS = Path(__file__).parent / "dashboard"
#: Bytes that the page and the overview need, compressed as the API does it; the other pages are loaded when idle.
_MAX_BYTES = 160 * 1024
#: What the API compresses with: see ava.api.http.responses.
_GZIP_LEVEL = 4
_PAGE = (_DASHBOARD / "index.html").read_text()


def test_the_formatters_and_reducers_pass_their_own_tests(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        npm.leave_out("node is not installed")
    # Node takes a file for a module if the package that it lies in says so.
    shutil.copytree(_DASHBOARD, tmp_path / "dashboard")
    shutil.copytree(_TESTS, tmp_path / "tests")
    (tmp_path / "package.json").write_text(json.dumps({"type": "module"}))
    names = sorted(path.name for path in _TESTS.glob("*.test.js"))
    done = npm.run("node", "--test", *(f"tests/{name}" for name in names), folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^# pass [1-9]\d", done.stdout, re.MULTILINE), done.stdout


def first_load() -> set[Path]:
    """Return the files that the page and the overview need; the other pages are loaded when the browser is idle."""
    libraries = {STATIC / found for found in re.findall(r'": "/static/(libraries/[^"]+)"', _PAGE)}
    assert len(libraries) == 4
    return {*_loaded(), *libraries, *_closure({_DASHBOARD / "main.js", _DASHBOARD / "pages/overview.js"})}


def test_the_first_load_has_at_most_160_kib() -> None:
    sizes = {str(path): len(gzip.compress(path.read_bytes(), _GZIP_LEVEL)) for path in first_load()}
    assert sum(sizes.values()) <= _MAX_BYTES, sorted(sizes.items(), key=lambda item: -item[1])[:20]


def test_each_file_is_reached_from_the_page_and_each_import_exists() -> None:
    reached = _closure(_loaded(), r'(?:\bfrom|^import|\bimport\()\s*"(\.[^"]+)"')
    assert {path for path in _DASHBOARD.rglob("*") if path.is_file()} - reached == set()


def _loaded() -> set[Path]:
    """Return the page and the files that it names."""
    named = re.findall(r'"/static/(dashboard/[^"]+)"', _PAGE)
    return {_DASHBOARD / "index.html", *(STATIC / name for name in named)}


def _closure(files: set[Path], imports: str = r'(?:\bfrom|^import)\s*"(\.[^"]+)"') -> set[Path]:
    """Return these files and the modules that they import."""
    reached, waiting = set(files), [path for path in files if path.suffix == ".js"]
    while waiting:
        module = waiting.pop()
        for name in re.findall(imports, module.read_text(), re.MULTILINE):
            found = (module.parent / name).resolve()
            assert found.exists(), f"{module} imports {name}"
            if found not in reached:
                reached.add(found)
                waiting.append(found)
    return reached
