"""The ranges of setup.cfg: each begins with a version that has what this project uses."""

from __future__ import annotations

import subprocess
import sys

from gunicorn.config import Config
from gunicorn.http import errors
from gunicorn.http.body import Body

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
