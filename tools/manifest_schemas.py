"""The schemas of Kubernetes for the manifests of `deploy/`.

`python -m tools.manifest_schemas` writes `manifest_schemas.json` beside this file from the package kubernetes-validate.
That package holds every kind of every release (108 MB), so it is installed for this command alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator

EXCERPT = Path(__file__).with_suffix(".json")
#: The release whose schemas are kept. `strict` refuses a field that does not exist.
RELEASE = "v1.34.0-local-strict"
#: The kinds that the chart renders: what a manifest says, and what Kubernetes calls its definition.
KINDS = {
    "v1 ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "v1 Service": "io.k8s.api.core.v1.Service",
    "apps/v1 Deployment": "io.k8s.api.apps.v1.Deployment",
    "autoscaling/v2 HorizontalPodAutoscaler": "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    "batch/v1 Job": "io.k8s.api.batch.v1.Job",
    "networking.k8s.io/v1 Ingress": "io.k8s.api.networking.v1.Ingress",
    "networking.k8s.io/v1 NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
    "policy/v1 PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
}
#: Kinds of other projects, whose schemas Kubernetes does not have.
FOREIGN = {
    "external-secrets.io/v1 ExternalSecret",
    "keda.sh/v1alpha1 ScaledObject",
    "monitoring.coreos.com/v1 PodMonitor",
    "monitoring.coreos.com/v1 ServiceMonitor",
}


def problems(manifest: Any) -> Iterator[str]:
    """Yields what is wrong with one manifest, one line each."""
    kind = f"{manifest.get('apiVersion')} {manifest.get('kind')}"
    if kind in FOREIGN:
        return
    if kind not in KINDS:
        yield f"{kind}: this kind has no schema here; add it to KINDS in {Path(__file__).name}"
        return
    for error in _validator(kind).iter_errors(manifest):
        path = ".".join(str(part) for part in error.instance_path)
        yield f"{manifest['kind']} {manifest['metadata'].get('name')}: {path}: {error.message}"


@cache
def _validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(EXCERPT.read_text()) | {"$ref": f"#/$defs/{KINDS[kind]}"})


def excerpt() -> dict[str, Any]:
    """Returns the definitions of KINDS and of what they refer to, without their descriptions."""
    found = find_spec("kubernetes_validate")
    if found is None or found.origin is None:
        raise SystemExit("ava: kubernetes-validate is needed: pip install kubernetes-validate")
    source = Path(found.origin).parent / "kubernetes-json-schema" / RELEASE / "_definitions.json"
    definitions = json.loads(source.read_text())["$defs"]
    definitions_used: dict[str, Any] = {}
    waiting = list(KINDS.values())
    while waiting:
        name = waiting.pop()
        if name not in definitions_used:
            definitions_used[name] = _without_descriptions(definitions[name])
            waiting += re.findall(r'"#/\$defs/([^"]+)"', json.dumps(definitions_used[name]))
    return {"$comment": f"Kubernetes {RELEASE}, Apache-2.0", "$defs": dict(sorted(definitions_used.items()))}


def _without_descriptions(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_descriptions(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _without_descriptions(value)
        for name, value in schema.items()
        # A property may be called description; its value is then a schema.
        if not (name.startswith("x-kubernetes") or (name == "description" and isinstance(value, str)))
    }


if __name__ == "__main__":
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in excerpt()["$defs"].items())
    EXCERPT.write_text(f'{{"$comment": "Kubernetes {RELEASE}, Apache-2.0", "$defs": {{\n{lines}\n}}}}\n')
