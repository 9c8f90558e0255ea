"""Two builds of one release differ in their commit, wherever they run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ava import version
from ava.cli.main import cli
from harness.system import ROOT

COMMIT = "43c5ae0a1b2c3d4e5f60718293a4b5c6d7e8f901"
BRANCH = "refs/heads/main"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder of a package in a folder that may be a checkout."""
    folder = tmp_path / "source" / "ava"
    folder.mkdir(parents=True)
    return folder


def _git(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{content}\n")


@pytest.mark.parametrize(
    "files",
    [
        {"HEAD": COMMIT},
        {"HEAD": f"ref: {BRANCH}", BRANCH: COMMIT},
        {"HEAD": f"ref: {BRANCH}", "packed-refs": f"# pack-refs with: peeled\n{COMMIT} {BRANCH}"},
    ],
    ids=["detached", "branch", "packed"],
)
def test_a_checkout_has_the_commit_of_its_head(package: Path, files: dict[str, str]) -> None:
    _git(package.parent / ".git", files)
    assert version.commit(package) == COMMIT[:12]


def test_a_worktree_has_the_commit_of_its_own_head(package: Path, tmp_path: Path) -> None:
    common = tmp_path / "main" / ".git"
    _git(common, {BRANCH: COMMIT, "worktrees/it/HEAD": f"ref: {BRANCH}", "worktrees/it/commondir": "../.."})
    (package.parent / ".git").write_text(f"gitdir: {common}/worktrees/it\n")
    assert version.commit(package) == COMMIT[:12]


def test_what_is_installed_has_the_commit_of_its_build_or_none(package: Path) -> None:
    assert version.commit(package) == ""
    (package / "commit.txt").write_text(f"{COMMIT}\n")
    assert version.commit(package) == COMMIT[:12]


def test_the_build_writes_the_commit_that_it_is_given(tmp_path: Path) -> None:
    # As in the image, whose source has no checkout.
    for name in (
        "setup.py",
        "setup.cfg",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "ava/version.py",
        "ava/__init__.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "celery_config.py").touch()
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "built"]
    environ = {"PATH": "/usr/bin:/bin", "SOURCE_COMMIT": COMMIT}
    subprocess.run(command, cwd=tmp_path, env=environ, check=True, capture_output=True)
    assert version.commit(tmp_path / "built" / "ava") == COMMIT[:12]


def test_the_command_prints_release_and_commit() -> None:
    printed = CliRunner().invoke(cli, ["--version"]).output
    assert printed == f"ava, version {version.build()}\n"
    assert version.build().partition("+")[0] == version.VERSION
    assert (f"## [{version.VERSION}]") in (ROOT / "CHANGELOG.md").read_text()
