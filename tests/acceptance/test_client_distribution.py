"""The distribution `ava-jobs-client`: a wheel of its own, installed into an empty environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.system import ROOT, SECRET, System

pytestmark = pytest.mark.timeout(300)

PYTHON_BLOCK = re.compile(r"```python\n(from ava\.client import Client\n.*?)```", re.DOTALL)


def _lines_of(page: str) -> str:
    found = PYTHON_BLOCK.search((ROOT / page).read_text())
    assert found, f"{page} has no lines of the client"
    return found[1]


def _run(*argv: str | Path, folder: Path) -> str:
    # Isolated from the repository: neither its folder nor this environment's variables are on the path.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AVA_"))}
    done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode and re.search(r"No matching distribution|ConnectionError|connection broken", done.stderr):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no package index is reachable: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of both distributions, built from a copy, because a build writes into its source."""
    folder = tmp_path_factory.mktemp("wheels")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("ava", "workers", "clients"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "celery_config.py"):
        shutil.copy(ROOT / name, source / name)
    build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder)
    _run(*build, source, source / "clients/python", folder=folder)
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """The Python of an environment that holds pip alone."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "environment"], check=True)
    return tmp_path / "environment/bin/python"


@pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)
def test_the_readmes_client_lines_run_where_only_the_client_is_installed(
    fleet: System, wheels: dict[str, Path], empty: Path, tmp_path: Path
) -> None:
    _run(empty, "-m", "pip", "install", "--quiet", wheels["ava_jobs_client"], folder=tmp_path)
    names = {found["name"] for found in json.loads(_run(empty, "-m", "pip", "list", "--format=json", folder=tmp_path))}
    assert names - {"pip", "setuptools"} == {
        "ava-jobs-client", "requests", "certifi", "charset-normalizer", "idna", "urllib3",
    }  # fmt: skip
    lines = _lines_of("README.md")
    assert lines == _lines_of("clients/python/README.md")
    lines = lines.replace("http://127.0.0.1:8080", fleet.url).replace('secret="…"', f"secret={SECRET!r}")
    printed = _run(empty, "-I", "-c", lines, folder=tmp_path).splitlines()
    assert "Worker handler started" in printed[0]
    assert "'incident_id': 'inc_01hxyz'" in printed[-1]


@pytest.mark.parametrize("order", [("ava_jobs", "ava_jobs_client"), ("ava_jobs_client", "ava_jobs")])
def test_both_distributions_work_side_by_side(
    order: tuple[str, str], wheels: dict[str, Path], empty: Path, tmp_path: Path
) -> None:
    for name in order:
        _run(empty, "-m", "pip", "install", "--quiet", "--no-deps", wheels[name], folder=tmp_path)
    look = "import ava, ava.client.errors, ava.handler.errors; assert ava.worker and ava.__file__"
    _run(empty, "-m", "pip", "install", "--quiet", "requests", folder=tmp_path)
    assert _run(empty, "-I", "-c", look, folder=tmp_path) == ""
