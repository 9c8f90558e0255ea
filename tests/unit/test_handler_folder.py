"""Handler modules in the working folder are found, and replace no module of Python or of a library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ava.errors import HandlerError
from ava.local import handler_files
from ava.local.account import Account, can_import
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
    text = "import click, redis, prices, beside\nfrom ava import worker\n@worker('sell')\ndef sell(input): ...\n"
    (handlers / "selling.py").write_text(text)
    (handlers / "beside.py").write_text("")
    (handlers / "redis.py").write_text("raise SystemExit('a library was replaced')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.mark.parametrize("command", ["up", "api", "worker", "webhooks", "dispatcher"])
def test_a_process_that_ava_starts_takes_libraries_from_no_working_folder(folder: Path, command: str) -> None:
    # It imports what the command needs, and refuses a setting.
    environ = {**os.environ, "DATABASE_URL": "wrong://", "BROKER_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(ava_argv(command), env=environ, capture_output=True, text=True, check=False)
    assert "DATABASE_URL" in done.stderr, done.stderr
    assert "replaced" not in done.stderr


def test_the_handlers_of_a_file_are_found_with_what_is_beside_them_and_replace_no_library(folder: Path) -> None:
    files = handler_files.find("shop/selling.py")
    assert files.worker_ids(os.environ) == ["wkr_sell"]
    with pytest.raises(HandlerError, match="beside"):
        handler_files.find("shop.selling").worker_ids(os.environ)


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
