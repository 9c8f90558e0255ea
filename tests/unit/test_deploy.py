"""The deployment files are valid and agree with the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
import yaml

from ava.cli.main import cli
from harness.system import ROOT

COMMANDS = {"api", "worker", "dispatcher", "webhooks", "db"}


def _manifests() -> list[dict[str, object]]:
    text = (ROOT / "deploy/kubernetes/ava-jobs.yaml").read_text()
    return [document for document in yaml.safe_load_all(text) if document]


def test_every_container_runs_an_existing_command() -> None:
    found = set(re.findall(r'args: \["([a-z]+)"', (ROOT / "deploy/kubernetes/ava-jobs.yaml").read_text()))
    assert found == COMMANDS
    assert found <= set(cli.commands)


def test_every_named_setting_is_documented() -> None:
    documented = (ROOT / "docs/configuration.md").read_text()
    for file in (*ROOT.glob("deploy/**/*.y*ml"), ROOT / "docker-compose.yml"):
        for name in set(re.findall(r"\bAVA_[A-Z_]+\b", file.read_text())):
            assert f"`{name}`" in documented, f"{name} in {file.name}"


def test_no_container_runs_as_root_or_writes_into_its_image() -> None:
    deployments = [manifest for manifest in _manifests() if manifest["kind"] == "Deployment"]
    assert len(deployments) == 4
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]  # type: ignore[index]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_make_image_fails_without_a_container_engine() -> None:
    environ = {"PATH": "/usr/bin:/bin", "ENGINE": "no-such-engine"}
    done = subprocess.run(
        [ROOT / "tools/image.sh"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "install and start docker or podman" in done.stderr


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_the_compose_file_is_valid(broker: str) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert {"postgres", "redis", "migrate", "api", "worker", "dispatcher", "webhooks", "flower"} <= set(
        compose["services"]
    )
    if not shutil.which("docker-compose"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("docker-compose is needed; on Debian apt-get install it")
    environ = {"POSTGRES_PASSWORD": "x", "AVA_INTERNAL_SECRET": "x", "AVA_ENCRYPTION_KEY": "x", "PATH": "/usr/bin:/bin"}
    command = ("docker-compose", "--profile", broker, "--profile", "flower", "config", "--quiet")
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
