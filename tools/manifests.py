"""`make manifests`: write `deploy/kubernetes` from the Helm chart. `--check` compares both with their schemas.

Helm renders the chart where it is installed. Elsewhere Go does it with `tools/chart/render.go`, which knows what the
chart uses.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema_rs import Draft7Validator

from tools import manifest_schemas

DEPLOY = Path(__file__).parent.parent / "deploy"
CHART = DEPLOY / "helm" / "ava-jobs"
#: The values with which the chart renders the optional manifests.
OPTIONAL = DEPLOY / "helm" / "optional.yaml"
PLAIN = DEPLOY / "kubernetes"
#: The templates of the files in deploy/kubernetes, in their order, and whether they need OPTIONAL.
FILES = {
    "ava-jobs.yaml": (("settings", "migration", "api", "worker", "dispatcher", "webhooks"), False),
    "network-policy.yaml": (("network-policy",), False),
    "keda.yaml": (("keda",), True),
    "monitoring.yaml": (("monitoring",), True),
    "ingress.yaml": (("ingress",), True),
}
HEAD = "# Written by `make manifests` from deploy/helm/ava-jobs. docs/operate/install.md says which Secrets it needs.\n"
#: The order of kinds within a template's text; Helm sorts by an order of its own.
KINDS = ("ConfigMap", "Job", "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler")


class ChartError(Exception):
    """The chart or its values are wrong."""


def render(*overlays: Path) -> dict[str, list[str]]:
    """Returns the manifests of each template by its name, rendered with the chart's values and then each overlay's."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for overlay in overlays:
        values = _merged(values, yaml.safe_load(overlay.read_text()))
    if found := list(_wrong_values(values)):
        raise ChartError("\n".join(found))
    rendered_files = _by_helm(overlays) if shutil.which("helm") else _by_go(values)
    return {name: sorted(_manifests(manifest), key=_order) for name, manifest in rendered_files.items()}


def _merged(values: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values with those of an overlay. A map is merged, all else is replaced, as Helm does."""
    merged = dict(values)
    for name, value in overlay.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


def _wrong_values(values: Any) -> Iterator[str]:
    schema = json.loads((CHART / "values.schema.json").read_text())
    for error in Draft7Validator(schema).iter_errors(values):
        yield f"values: {'.'.join(str(part) for part in error.instance_path)}: {error.message}"


def _by_helm(overlays: tuple[Path, ...]) -> dict[str, str]:
    command = ["helm", "template", "ava-jobs", str(CHART)]
    output = _output([*command, *(f"--values={overlay}" for overlay in overlays)], "")
    rendered_files: dict[str, str] = {}
    for part in re.split(r"^---$", output, flags=re.MULTILINE):
        if source := re.match(r"\s*# Source: ava-jobs/templates/([a-z-]+)\.yaml\n", part):
            rendered_files[source[1]] = f"{rendered_files.get(source[1], '')}\n---\n{part[source.end() :]}"
    return rendered_files


def _by_go(values: Mapping[str, Any]) -> dict[str, str]:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    scope = {
        "Values": values,
        # In templates the fields of Chart begin with a capital.
        "Chart": {name[0].upper() + name[1:]: value for name, value in chart.items()},
        "Release": {"Name": "ava-jobs", "Namespace": "default", "Service": "Helm"},
    }
    templates = {path.name: path.read_text() for path in (CHART / "templates").iterdir()}
    program = Path(__file__).parent / "chart" / "render.go"
    rendered = json.loads(_output(["go", "run", str(program)], json.dumps({"templates": templates, "scope": scope})))
    return {name.removesuffix(".yaml"): content for name, content in rendered.items() if name.endswith(".yaml")}


def _output(command: list[str], given: str) -> str:
    # Without cgo Go compiles without a C compiler, and without modules it needs no network.
    environ = {**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off"}
    try:
        done = subprocess.run(command, input=given, env=environ, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ChartError("helm or Go is needed to render the chart") from None
    if done.returncode:
        raise ChartError(done.stderr.strip())
    return done.stdout


def _manifests(content: str) -> Iterator[str]:
    for part in re.split(r"^---$", content, flags=re.MULTILINE):
        if yaml.safe_load(part):
            yield "\n".join(line.rstrip() for line in part.splitlines() if line.strip()) + "\n"


def _order(manifest_yaml: str) -> tuple[int, str]:
    manifest = yaml.safe_load(manifest_yaml)
    kind = manifest["kind"]
    return KINDS.index(kind) if kind in KINDS else len(KINDS), manifest["metadata"]["name"]


def plain_files() -> dict[str, str]:
    """Returns the text of each file that `deploy/kubernetes` gets from the chart."""
    default, optional = render(), render(OPTIONAL)
    files = {}
    for file, (templates, is_optional) in FILES.items():
        source = optional if is_optional else default
        files[file] = HEAD + "---\n".join(content for template in templates for content in source[template])
    return files


def check() -> Iterator[str]:
    """Yields what is wrong with the chart's values and with the manifests in `deploy/kubernetes`."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    yield from _wrong_values(values)
    yield from _wrong_values(_merged(values, yaml.safe_load(OPTIONAL.read_text())))
    for file in FILES:
        for manifest in yaml.safe_load_all((PLAIN / file).read_text()):
            yield from (f"{file}: {problem}" for problem in manifest_schemas.problems(manifest))
    if shutil.which("helm"):
        _output(["helm", "lint", "--strict", "--quiet", str(CHART)], "")


def main(arguments: list[str]) -> int:
    """Write the files, or check them with `--check`. Returns the exit code."""
    try:
        if arguments == ["--check"]:
            found = list(check())
            print(
                "\n".join(found) or f"{len(FILES)} files of manifests and the chart's values agree with their schemas"
            )
            return int(bool(found))
        for file, content in plain_files().items():
            (PLAIN / file).write_text(content)
    except ChartError as problem:
        print(f"ava: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
