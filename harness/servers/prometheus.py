"""A real Prometheus with the shipped configuration and alerts, in which a minute takes few seconds."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml

from ava.errors import ServerProgramMissing
from ava.local.program import ChildProcess, Program
from ava.local.start import free_port
from harness.polling import wait_until
from harness.servers.server import private_folder

_SHIPPED = Path(__file__).parent.parent.parent / "deploy" / "prometheus"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def firing(self) -> set[str]:
        """Returns the names of the alerts that fire."""
        alerts = self._get("alerts")["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def healthy_targets(self) -> int:
        """Returns how many targets have answered their last scrape."""
        return sum(each["health"] == "up" for each in self._get("targets")["activeTargets"])

    def _get(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{self.url}/api/v1/{path}", timeout=10).json()["data"]
        return found


def hurried(duration: str, factor: float, *, max_seconds: float = float("inf")) -> str:
    """Returns a duration of Prometheus, at most `max_seconds`, divided by the factor: `5m` by 20 is `15000ms`."""
    seconds = float(duration[:-1]) * _UNITS[duration[-1]]
    return f"{round(min(seconds, max_seconds) / factor * 1000)}ms"


def program() -> str:
    """Returns the path of the program. Raises `ServerProgramMissing`."""
    if not (found := shutil.which("prometheus")):
        raise ServerProgramMissing("prometheus is not installed; on Debian: apt-get install prometheus")
    return found


@contextmanager
def running_prometheus(
    targets: Mapping[str, Sequence[int]],
    *,
    secret: str,
    factor: float,
    max_for_seconds: float,
    counts: Mapping[str, str],
) -> Iterator[Prometheus]:
    """Prometheus with the shipped files, all of whose durations are divided by `factor`.

    `targets`: ports of this machine by the shipped job. `max_for_seconds`: the longest `for`, before it is divided.
    `counts`: other versions of the rules, for counts that no machine makes in so little time.
    """
    with private_folder() as folder:
        (folder / "secret").write_text(secret)
        (folder / "alerts.yml").write_text(_rules(factor, max_for_seconds, counts))
        (folder / "prometheus.yml").write_text(_configuration(folder, targets, factor))
        port = free_port()
        arguments = (
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        )
        with (folder / "prometheus.log").open("wb") as output:
            child = ChildProcess.start(Program(name="prometheus", argv=(program(), *arguments)), output)
        found = Prometheus(f"http://127.0.0.1:{port}")
        number = sum(map(len, targets.values()))
        try:
            wait_until(
                lambda: _answers(found.url) and found.healthy_targets() == number,
                seconds=30,
                what=lambda: f"Prometheus scrapes each target:\n{(folder / 'prometheus.log').read_text()}",
            )
            yield found
        finally:
            child.stop()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/-/ready", timeout=5).ok
    except requests.ConnectionError:
        return False


def _rules(factor: float, max_for_seconds: float, counts: Mapping[str, str]) -> str:
    rules = (_SHIPPED / "alerts.yml").read_text()
    for shipped, other in counts.items():
        assert rules.count(shipped) == 1, shipped
        rules = rules.replace(shipped, other)
    rules = re.sub(r"(?<=\[)\d+[smhd](?=\])", lambda found: hurried(found[0], factor), rules)
    rules = re.sub(r"(?<= offset )\d+[smhd]", lambda found: hurried(found[0], factor), rules)
    return re.sub(r"(?<= for: )\d+[smhd]", lambda found: hurried(found[0], factor, max_seconds=max_for_seconds), rules)


def _configuration(folder: Path, targets: Mapping[str, Sequence[int]], factor: float) -> str:
    shipped = yaml.safe_load((_SHIPPED / "prometheus.yml").read_text())
    interval = hurried(shipped["global"]["scrape_interval"], factor)
    shipped["global"] = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    for job in shipped["scrape_configs"]:
        for discovery in [name for name in job if name.endswith("_sd_configs")]:
            del job[discovery]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in targets[job["job_name"]]]}]
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(folder / "secret")
    return str(yaml.safe_dump(shipped))
