"""The distributions `ava-jobs`, `ava-jobs-client` and `ava-celery`: their wheels, installed into empty environments."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from harness.servers.server import private_folder
from harness.system import ROOT, SECRET, System
from tests.acceptance.up_process import Up

pytestmark = pytest.mark.timeout(300)

PYTHON_BLOCK = re.compile(r"```python\n(from ava\.client import Client\n.*?)```", re.DOTALL)


def _lines_of(page: str) -> str:
    found = PYTHON_BLOCK.search((ROOT / page).read_text())
    assert found, f"{page} has no lines of the client"
    return found[1]


def _ended(*argv: str | Path, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    # Isolated from the repository: neither its folder nor this environment's variables are on the path.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AVA_"))}
    return subprocess.run(
        argv, cwd=folder, env=environ | more, capture_output=True, text=True, timeout=240, check=False
    )


def _run(*argv: str | Path, folder: Path) -> str:
    done = _ended(*argv, folder=folder)
    if done.returncode and re.search(r"No matching distribution|ConnectionError|connection broken", done.stderr):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no package index is reachable: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def _needed_to_build(source: Path) -> list[str]:
    needed: list[str] = tomllib.loads((source / "pyproject.toml").read_text())["build-system"]["requires"]
    return needed


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of the distributions, built from a copy, because a build writes into its source."""
    folder = tmp_path_factory.mktemp("wheels")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "node_modules", "dist")
    for name in ("ava", "workers", "clients"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "celery_config.py"):
        shutil.copy(ROOT / name, source / name)
    # One environment for all, of what each says that its build needs; pip would make three.
    distributions = [source, source / "clients/python", source / "clients/celery"]
    needed = [_needed_to_build(each) for each in distributions]
    assert needed[1:] == needed[:1] * 2
    builder = _make_environment(folder)
    _install(builder, *needed[0])
    build = ("wheel", "--quiet", "--no-build-isolation", "--no-deps", "--wheel-dir", folder)
    _pip(builder, *build, *distributions)
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """The Python of an environment that holds nothing."""
    return _make_environment(tmp_path)


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds `ava-jobs` and what it needs, which some tests add to."""
    python = _make_environment(tmp_path_factory.mktemp("installed"))
    _install(python, "--no-deps", wheels["ava_jobs"])
    _borrow_packages(python)
    return python


def _make_environment(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "environment"], check=True)
    return folder / "environment/bin/python"


def _pip(python: Path, *arguments: str | Path) -> str:
    """Run this environment's pip for another environment, because to install one takes seconds."""
    return _run(sys.executable, "-m", "pip", "--python", python, *arguments, folder=python.parent)


def _install(python: Path, *packages: str | Path) -> None:
    _pip(python, "install", "--quiet", "--no-compile", *packages)


def _borrow_packages(python: Path) -> None:
    """Let another environment use the packages of this one but for ours, because their download takes a minute."""
    found = Path(sysconfig.get_path("purelib", vars={"base": str(python.parent.parent)}))
    for path in (each for name in sys.path if "site-packages" in name for each in Path(name).iterdir()):
        if not (path.name.startswith("ava_") or path.suffix == ".pth" or (found / path.name).exists()):
            (found / path.name).symlink_to(path)


@pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)
def test_the_readmes_client_lines_run_where_only_the_client_is_installed(
    fleet: System, wheels: dict[str, Path], empty: Path, tmp_path: Path
) -> None:
    _install(empty, wheels["ava_jobs_client"])
    names = {found["name"] for found in json.loads(_pip(empty, "list", "--format=json"))}
    assert names == {
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
        _install(empty, "--no-deps", wheels[name])
    _borrow_packages(empty)
    source = "import ava, ava.client.errors, ava.handler.errors; assert ava.worker and 'environment' in ava.__file__"
    assert _run(empty, "-I", "-c", source, folder=tmp_path) == ""


def test_the_wheel_makes_a_project_and_runs_its_handler(installed: Path) -> None:
    ava = (installed, "-m", "ava.cli.main")
    with private_folder() as folder:
        _run(*ava, "new", "order-mails", folder=folder)
        project = folder / "order-mails"
        command, away = ("dev", "order_mails.py"), {"PYTHONPATH": ""}
        dev = Up(project / ".ava", command=command, cwd=project, python=installed, environ=away)
        try:
            dev.await_ready(60)
            # The command finds the system of this folder.
            printed = _run(
                *ava, "jobs", "trigger", "wkr_hello", "--input", '{"name": "Ada"}', "--follow", folder=project
            )
            assert "Greeting Ada, attempt 1" in printed
            assert '"greeting":"Hello, Ada"' in printed.replace(": ", ":")
            dev.remember()
            dev.send(signal.SIGINT)
            assert dev.process.wait(60) == 0
            assert dev.left() == []
        finally:
            dev.clean_up()


def test_a_new_project_installs_outside_a_clone_and_where_no_index_has_ava_jobs(
    wheels: dict[str, Path], empty: Path, tmp_path: Path
) -> None:
    _run(sys.executable, "-m", "ava.cli.main", "new", "order-mails", folder=tmp_path)
    described = tomllib.loads((tmp_path / "order-mails/pyproject.toml").read_text())["project"]
    needed = [*described["dependencies"], *described["optional-dependencies"]["dev"]]
    assert not any(each.startswith("ava") for each in needed)
    _pip(empty, "install", "--quiet", "--editable", f"{tmp_path / 'order-mails'}[dev]")
    _install(empty, "--no-deps", wheels["ava_jobs"])
    _borrow_packages(empty)
    printed = _run(empty, "-m", "pytest", "-q", "-k", "not as_a_job", folder=tmp_path / "order-mails")
    assert "2 passed" in printed


@pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)
def test_celerys_tasks_need_the_wheel_of_ava_celery_and_are_found_with_it(
    fleet: System, wheels: dict[str, Path], installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(
        "from celery import Celery\n\napp = Celery('shop')\n\n\n@app.task(name='add')\ndef add(x, y): ...\n"
    )
    ava, servers = (
        (installed, "-m", "ava.cli.main"),
        {"DATABASE_URL": fleet.database_url, "BROKER_URL": fleet.broker_url},
    )
    for command in (("celery", "--help"), ("celery", "check", "shop:app"), ("worker",), ("doctor",)):
        ended = _ended(*ava, *command, folder=tmp_path, AVA_CELERY_APPS="shop:app", **servers)
        assert (ended.returncode, "Traceback" in ended.stderr) == (1, False), ended.stderr
        assert "pip install ava-celery" in ended.stdout + ended.stderr
    _install(installed, "--no-deps", wheels["ava_celery"])
    assert "ok  add: wkr_add, queue default" in _run(*ava, "celery", "check", "shop:app", folder=tmp_path)
