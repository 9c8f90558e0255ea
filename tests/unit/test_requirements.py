"""The ranges of setup.cfg: each begins with a version that has what this project uses."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys

from gunicorn.config import Config
from gunicorn.http import errors
from gunicorn.http.body import Body
from packaging.requirements import Requirement

from harness.system import ROOT


def test_gunicorn_has_every_name_that_the_api_uses() -> None:
    assert Config().settings["control_socket_disable"]
    assert issubclass(errors.ExpectationFailed, Exception)
    assert Body(None).failed is False


def test_every_requirement_has_a_lower_bound() -> None:
    command = [sys.executable, ROOT / "tools/lowest_constraints.py"]
    pins = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "gunicorn==27" in pins
    assert all("==" in pin for pin in pins)


def _locked() -> dict[str, str]:
    """Returns the version of each package of the image, by its name."""
    content = (ROOT / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", content, flags=re.MULTILINE))


def test_the_image_installs_every_requirement_in_a_version_that_setup_cfg_allows() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    locked = _locked()
    of_image = [config["options"]["install_requires"], *(extras[name] for name in ("flower", "oidc", "otel"))]
    for line in "\n".join(of_image).split("\n"):
        if line.strip():
            requirement = Requirement(line)
            assert requirement.specifier.contains(locked[requirement.name.lower()]), f"{line}: run `make lock`"


def test_the_image_installs_nothing_without_a_hash() -> None:
    content = (ROOT / "requirements.lock").read_text()
    packages = re.split(r"\n(?=[a-z])", content.split("\n", 1)[1])
    assert len(packages) == len(_locked())
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", package) for package in packages)
    assert "pip install --require-hashes -r requirements.lock" in (ROOT / "Dockerfile").read_text()


def test_the_bill_of_materials_names_what_the_image_installs() -> None:
    bill = json.loads((ROOT / "requirements.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    listed = {part["name"]: part["version"] for part in bill["components"]}
    assert listed == _locked(), "run `make lock`"
    hashes = [each["content"] for part in bill["components"] for each in part["externalReferences"][0]["hashes"]]
    locked = re.findall(r"--hash=sha256:([0-9a-f]{64})", (ROOT / "requirements.lock").read_text())
    assert sorted(hashes) == sorted(locked), "run `make lock`"
