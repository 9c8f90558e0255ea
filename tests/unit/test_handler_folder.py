"""Handler modules in the working folder are found, and replace no module of Python or of a library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ava.errors import HandlerError
from ava.local import environment, handler_files
from ava.local.account import Account, can_import
from ava.local.data_folder import open_folder
from ava.local.program import ava_argv
from harness.system import ROOT

_SCRIPT = """
import os, sys
from ava.local import handler_folder
handler_folder.search(handler_folder.folders(), ["mine", "workers.package"])
import mine, colorsys, beside, workers.package
assert mine.FROM == beside.FROM == workers.package.FROM == "the folder"
assert not hasattr(colorsys, "FROM")
assert sys.path[-1] == os.getcwd() and sys.path.index(os.getcwd()) == len(sys.path) - 1
print("found")
"""


def test_named_modules_come_from_the_folder_and_all_others_from_there_last(tmp_path: Path) -> None:
    for name in ("mine", "colorsys", "beside", "workers/package", "workers/__init__"):
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text("FROM = 'the folder'")
    # -I keeps Python from adding the folder itself, as the `ava` command does.
    script = f"import sys; sys.path.append({str(ROOT)!r})\n{_SCRIPT}"
    found = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.stdout == "found\n", found.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with modules that have the names of libraries, and a package of handlers."""
    for name in ("click", "redis", "flask", "psycopg2", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a library was replaced')")
    handlers = tmp_path / "shop"
    handlers.mkdir()
    (tmp_path / "prices.py").write_text("")
    source = "import click, redis, prices, beside\nfrom ava import worker\n@worker('sell')\ndef sell(input): ...\n"
    (handlers / "selling.py").write_text(source)
    (handlers / "beside.py").write_text("")
    (handlers / "redis.py").write_text("raise SystemExit('a library was replaced')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.mark.parametrize("command", ["up", "start api", "start node", "start sender", "start dispatcher"])
def test_a_process_that_ava_starts_takes_libraries_from_no_working_folder(folder: Path, command: str) -> None:
    # It imports what the command needs, and refuses a setting.
    environ = {**os.environ, "DATABASE_URL": "wrong://", "BROKER_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(ava_argv(*command.split()), env=environ, capture_output=True, text=True, check=False)
    assert "DATABASE_URL" in done.stderr, done.stderr
    assert "replaced" not in done.stderr


def test_the_handlers_of_a_file_are_found_with_what_is_beside_them_and_replace_no_library(folder: Path) -> None:
    files = handler_files.find("shop/selling.py")
    assert files.load(os.environ).worker_ids == ["wkr_sell"]
    with pytest.raises(HandlerError, match="beside"):
        handler_files.find("shop.selling").load(os.environ)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package of handlers beside an environment of Python, and a module elsewhere that it imports."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    sources = {
        project / "shop/__init__.py": "",
        project / "shop/words.py": "HELLO = 'Hello'\n",
        project / "shop/selling.py": "import prices, click\nfrom ava import worker\nfrom .words import HELLO\n"
        "@worker('sell')\ndef sell(input): ...\n",
        project / "env/pyvenv.cfg": "",
        project / "anaconda/conda-meta/history": "",
        elsewhere / "prices.py": "",
    }
    for folder in ("env", "anaconda"):
        sources |= {project / folder / f"lib/module_{number}.py": "" for number in range(50)}
    for file, source in sources.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    monkeypatch.setattr(handler_files, "_MAX_FILES", 40)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{elsewhere}")
    monkeypatch.chdir(project)
    return project


def test_a_file_of_a_package_is_imported_as_its_module_so_that_relative_imports_work(package: Path) -> None:
    for target in ("shop/selling.py", str(package / "shop/selling.py"), "shop.selling"):
        files = handler_files.find(target)
        assert (files.module, files.folder) == ("shop.selling", package)
        assert files.load(os.environ).worker_ids == ["wkr_sell"]
    assert handler_files.find("shop/__init__.py").module == "shop"
    (package / "src").mkdir()
    (package / "src/stock.py").touch()
    assert handler_files.find("stock").folder == package / "src"
    (package / "shop/__init__.py").unlink()
    with pytest.raises(HandlerError, match=r"no known parent package; add an empty __init__\.py to its folder"):
        handler_files.find("shop/selling.py").load(os.environ)


def test_what_the_handlers_import_is_watched_and_no_environment_of_python_whatever_its_name(package: Path) -> None:
    files = handler_files.find("shop/selling.py")
    imported = files.load(os.environ).files
    found = files.timestamps(imported)
    elsewhere = package.with_name("elsewhere") / "prices.py"
    assert {Path(path) for path in found} == {*package.glob("shop/*.py"), elsewhere}
    elsewhere.write_text("# changed")
    assert {path for path, timestamp in files.timestamps(imported).items() if timestamp != found[path]} == {
        str(elsewhere)
    }
    # A bound on the files that lie about takes none of the imported ones away.
    for number in range(50):
        (package / f"module_{number}.py").touch()
    assert set(imported) < files.timestamps(imported).keys()
    assert len(files.timestamps(imported)) <= 40 + len(imported)


def test_a_mistyped_file_is_answered_with_the_one_that_is_meant(package: Path) -> None:
    with pytest.raises(HandlerError, match=r"There is no file shop/seling\.py; .* Did you mean shop/selling\.py\?"):
        handler_files.find("shop/seling.py")


def test_a_node_that_joins_gets_the_handlers_of_the_system_and_their_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "AVA_HANDLERS": "shop.selling",
        "AVA_HANDLER_FOLDER": str(tmp_path),
        "AVA_WORKER_SELL_MOTTO": "it's\nnew",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    folder = open_folder(tmp_path / ".ava")
    environment.write_file(folder, {**environment.of_handlers(), "BROKER_URL": "redis://here"})
    folder.close()
    assert environment.of_running_system() == settings | {"BROKER_URL": "redis://here"}
    command = ("sh", "-c", 'set -a; . .ava/environment; printf %s "$AVA_WORKER_SELL_MOTTO"')
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "it's\nnew"


def test_the_probe_of_an_account_finds_the_handlers_and_replaces_no_library(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = subprocess.run

    def run_as_ourselves(command: Any, *, user: int, group: int, extra_groups: list[int], **options: Any) -> Any:
        # Only root may become another account, and what is found does not depend on it here.
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", run_as_ourselves)
    account = Account(name="ours", uid=os.getuid(), gid=os.getgid())
    assert can_import(account, ["shop.selling", "prices"], os.environ)
    assert not can_import(account, ["nowhere_at_all"], os.environ)
