"""A node refuses versions of Celery, kombu and billiard that it was not tested with."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from ava.errors import StartError
from ava.node.celery_internals import requirements

ROOT = Path(__file__).parent.parent.parent
#: Runs a program as if Celery 5.8.0 were installed.
_WITH_ANOTHER_CELERY = """
import runpy, sys
from importlib import metadata
real = metadata.version
metadata.version = lambda name: "5.8.0" if name == "celery" else real(name)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def _pretend(monkeypatch: pytest.MonkeyPatch, **installed: str) -> None:
    real = metadata.version
    monkeypatch.setattr(requirements.metadata, "version", lambda name: installed.get(name) or real(name))


def test_the_installed_versions_were_tested() -> None:
    assert requirements.describe_untested() is None
    requirements.require_tested("ava")


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("celery", "5.8.0"),
        ("celery", "5.8.0rc1"),
        ("celery", "5.6.9"),
        ("celery", "5.10"),
        ("kombu", "6.0"),
        ("billiard", "4.3.1"),
        ("billiard", "4.4.0"),
        ("billiard", "unknown"),
    ],
)
def test_a_version_that_was_not_tested_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, version: str
) -> None:
    _pretend(monkeypatch, **{name: version})
    with pytest.raises(StartError) as refused:
        requirements.require_tested("ava")
    line = str(refused.value)
    assert line.startswith(f"{name} {version} was not tested with this release, which needs >=")
    assert "; install it with: pip install 'celery>=5.7,<5.8' 'kombu>=5.7,<5.8' 'billiard>=4.3.2,<4.4'" in line
    assert "\n" not in line


@pytest.mark.parametrize(("name", "version"), [("celery", "5.7.12"), ("kombu", "5.7.0"), ("billiard", "4.3.10")])
def test_other_releases_of_a_tested_series_are_accepted(
    monkeypatch: pytest.MonkeyPatch, name: str, version: str
) -> None:
    _pretend(monkeypatch, **{name: version})
    requirements.require_tested("ava")


def test_celerys_own_pool_runs_on_any_version(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, celery="6.0")
    assert "celery 6.0" in str(requirements.describe_untested())
    requirements.require_tested("celery")


def test_setup_cfg_requires_the_tested_versions() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = setup["options"]["install_requires"].replace(" ", "").splitlines()
    for name, (first, beyond) in requirements.TESTED.items():
        assert f"{name}>={first},<{beyond}" in required


@pytest.mark.parametrize(
    "program",
    [("ava.cli.main", "worker"), ("celery", "-A", "ava.app", "--quiet", "worker", "--concurrency", "1")],
    ids=["ava worker", "celery worker"],
)
def test_a_node_on_an_untested_version_ends_with_one_line_and_exit_code_1(program: tuple[str, ...]) -> None:
    nowhere = {"DATABASE_URL": "postgresql://ava@127.0.0.1:1/none", "BROKER_URL": "redis://127.0.0.1:1/0"}
    ended = subprocess.run(
        (sys.executable, "-c", _WITH_ANOTHER_CELERY, *program),
        cwd=ROOT,
        check=False,
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith(
        "ava: celery 5.8.0 was not tested with this release, which needs >=5.7,<5.8; install it with"
    )
    assert line.endswith("or set AVA_POOL=celery.")
