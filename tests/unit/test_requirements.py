"""The ranges of setup.cfg: each begins with a version that has what this project uses, and what of them is locked."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys

import pytest
from gunicorn.config import Config
from gunicorn.http import errors
from gunicorn.http.body import Body
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.system import ROOT

#: What is installed beside the packages of the earlier ones: the image, `make run`, and the tests and checks.
_LAYERS = ("requirements.lock", "requirements-run.lock", "requirements-dev.lock")
_PYTHON_OF_IMAGE = "3.13.0"


def _applies(requirement: Requirement, python: str) -> bool:
    versions = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    return requirement.marker is None or requirement.marker.evaluate(versions)


def _locked(*layers: str, python: str) -> dict[str, str]:
    """Returns the version of each package that layers of locked ones have for a Python, by its name."""
    content = "".join((ROOT / layer).read_text() for layer in layers)
    entries = (Requirement(line) for line in re.findall(r"^([a-z].*) \\$", content, flags=re.MULTILINE))
    return {each.name: str(each.specifier).removeprefix("==") for each in entries if _applies(each, python)}


def test_gunicorn_has_every_name_that_the_api_uses() -> None:
    assert Config().settings["control_socket_disable"]
    assert issubclass(errors.ExpectationFailed, Exception)
    assert Body(None).failed is False


def _ranges() -> dict[str, list[str]]:
    """Returns the lines of each list of requirements of setup.cfg, with its comments."""
    lists = re.findall(r"^(\S+) =\n((?:    .*\n)+)", (ROOT / "setup.cfg").read_text(), flags=re.MULTILINE)
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    names = {"install_requires", *config["options.extras_require"]}
    return {name: [line.strip() for line in lines.splitlines()] for name, lines in lists if name in names}


def test_every_requirement_has_a_lower_bound() -> None:
    command = [sys.executable, ROOT / "tools/lowest_constraints.py"]
    pins = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "gunicorn==27" in pins
    assert all("==" in pin for pin in pins)


def test_every_requirement_has_an_upper_bound_or_a_comment_that_says_why_it_needs_none() -> None:
    unexplained = []
    for lines in _ranges().values():
        explained = False
        for line in lines:
            if line.startswith("#"):
                explained = True
            elif any(part.operator == "<" for part in Requirement(line).specifier):
                explained = False
            elif not explained:
                unexplained.append(line)
    assert unexplained == []


@pytest.mark.parametrize("python", ["3.11.0", "3.11.9", "3.12.0", "3.13.0", "3.14.0"])
def test_each_python_installs_every_requirement_in_a_version_that_setup_cfg_allows(python: str) -> None:
    locked = _locked(*_LAYERS, python=python)
    # The one package of celery-tasks is this project's own.
    lists = [lines for name, lines in _ranges().items() if name != "celery-tasks"]
    for line in (line for lines in lists for line in lines if not line.startswith("#")):
        requirement = Requirement(line)
        if _applies(requirement, python):
            name = canonicalize_name(requirement.name)
            assert requirement.specifier.contains(locked[name]), f"{line}: run `make lock`"


def test_the_image_installs_the_requirements_of_all_that_it_serves() -> None:
    locked, ranges = _locked("requirements.lock", python=_PYTHON_OF_IMAGE), _ranges()
    for name in ("install_requires", "flower", "oidc", "otel"):
        assert {canonicalize_name(Requirement(line).name) for line in ranges[name] if line[0] != "#"} <= set(locked)
    assert "selenium" not in locked


def test_nothing_is_installed_without_a_hash() -> None:
    for layer in _LAYERS:
        content = (ROOT / layer).read_text()
        packages = re.split(r"\n(?=[a-z])", content.split("\n", 1)[1])
        assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", package) for package in packages)
        assert "://" not in content
    assert "pip install --require-hashes -r requirements.lock" in (ROOT / "Dockerfile").read_text()


def test_the_bill_of_materials_names_what_the_image_installs() -> None:
    bill = json.loads((ROOT / "requirements.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    listed = {part["name"]: part["version"] for part in bill["components"]}
    assert listed == _locked("requirements.lock", python=_PYTHON_OF_IMAGE), "run `make lock`"
    hashes = [each["content"] for part in bill["components"] for each in part["externalReferences"][0]["hashes"]]
    locked = re.findall(r"--hash=sha256:([0-9a-f]{64})", (ROOT / "requirements.lock").read_text())
    assert set(hashes) <= set(locked), "run `make lock`"
