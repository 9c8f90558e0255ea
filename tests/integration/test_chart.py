"""The plain manifests are what the chart renders, and the chart renders valid manifests with other values as well."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from ava.domain.limits import table as limits
from ava.domain.limits.table import Limit
from ava.setting_values import SECRETS as SECRET_SETTINGS
from tools import manifest_schemas, manifests
from tools.manifests import CHART, PLAIN, ChartError

#: The secrets of a node.
SECRETS = {"shared": "ava-jobs", "encryption": "ava-jobs-encryption", "messages": "ava-jobs-messages"}


@pytest.fixture(autouse=True)
def _renderer() -> None:
    if not (shutil.which("helm") or shutil.which("go")):
        # `make test` installs Go, if it runs as root on Debian.
        (pytest.fail if os.environ.get("CI") else pytest.skip)("helm or Go is needed to render the chart")


def _render(tmp_path: Path, values: object) -> dict[str, object]:
    """Returns the valid manifests by kind and name."""
    overlay = tmp_path / "values.yaml"
    overlay.write_text(yaml.safe_dump(values))
    found = {}
    for manifests_of in manifests.render(overlay).values():
        for manifest in map(yaml.safe_load, manifests_of):
            assert list(manifest_schemas.problems(manifest)) == []
            found[f"{manifest['kind']} {manifest['metadata']['name']}"] = manifest
    return found


def _fixed(limit: Limit) -> int:
    """Returns a limit that no setting changes."""
    assert limit.fixed is not None
    return limit.fixed


def test_the_plain_manifests_are_those_of_the_chart() -> None:
    for file, content in manifests.plain_files().items():
        assert (PLAIN / file).read_text() == content, f"{file}: run `make manifests`"


@pytest.mark.parametrize("source", ["files", "csi"])
def test_secrets_are_read_from_files(tmp_path: Path, source: str) -> None:
    found = _render(tmp_path, {"secrets": {"source": source}, "certificates": "ca"})
    pod = found["Deployment ava-worker"]["spec"]["template"]["spec"]  # type: ignore[index]
    (container,) = pod["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": "ava-jobs"}}]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables["DATABASE_URL_FILE"] == "/etc/ava/secrets/ava-jobs/DATABASE_URL"
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts.keys() == {each["name"] for each in pod["volumes"]} == {"tmp", "certificates", *SECRETS}
    for name, secret in SECRETS.items():
        assert mounts[name] == f"/etc/ava/secrets/{secret}"
    job = found["Job ava-migrate"]["spec"]["template"]["spec"]["containers"][0]  # type: ignore[index]
    assert "DATABASE_OWNER_URL_FILE" in {each["name"] for each in job["env"]}
    assert "envFrom" not in job


@pytest.mark.parametrize("source", ["environment", "files", "csi"])
def test_without_a_key_that_signs_messages_no_pod_needs_its_secret(tmp_path: Path, source: str) -> None:
    secrets = {"source": source, "messages": {"keys": []}}
    found = _render(tmp_path, {"secrets": secrets, "externalSecrets": {"enabled": True}})
    assert "ExternalSecret ava-jobs-encryption" in found
    assert "messages" not in str(found)


@pytest.mark.parametrize("name", SECRET_SETTINGS)
def test_a_secret_is_refused_among_the_settings_of_all_processes(tmp_path: Path, name: str) -> None:
    with pytest.raises(ChartError, match="settings"):
        _render(tmp_path, {"settings": {name: "x"}})


def test_external_secrets_exist_before_the_migration(tmp_path: Path) -> None:
    found = _render(tmp_path, {"externalSecrets": {"enabled": True}})
    made = [manifest for name, manifest in found.items() if name.startswith("ExternalSecret")]
    assert len(made) == 5
    weights = [int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in made]  # type: ignore[index]
    assert all(weight < 0 for weight in weights)
    assert "helm.sh/hook-weight" not in found["Job ava-migrate"]["metadata"]["annotations"]  # type: ignore[index]


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_every_process_reaches_the_collector_of_traces_where_one_is_named(tmp_path: Path, name: str) -> None:
    peers = [{"podSelector": {"matchLabels": {"app": "collector"}}}]
    values = {
        "settings": {name: "http://collector:4318"},
        "networkPolicy": {"collector": {"peers": peers, "ports": [4318]}},
    }
    policies = [
        _render(tmp_path, each)["NetworkPolicy ava-jobs"]["spec"]["egress"]  # type: ignore[index]
        for each in (values, values | {"settings": {}})
    ]
    assert [rule for rule in policies[0] if rule not in policies[1]] == [{"to": peers, "ports": [{"port": 4318}]}]


def test_the_labels_of_a_pod_tell_two_builds_of_one_release_apart(tmp_path: Path) -> None:
    pod = _render(tmp_path, {"image": {"tag": "0.1.0-43c5ae0a1b2c"}})["Deployment ava-worker"]["spec"]["template"]  # type: ignore[index]
    assert pod["metadata"]["labels"]["app.kubernetes.io/version"] == "0.1.0-43c5ae0a1b2c"
    assert pod["spec"]["containers"][0]["image"] == "ava-jobs:0.1.0-43c5ae0a1b2c"


def test_denied_networks_are_not_called(tmp_path: Path) -> None:
    denied = {"ipv4": ["203.0.113.0/24"], "ipv6": ["2001:4860:64::/96", "2600:1f00::/40"]}
    found = _render(tmp_path, {"networkPolicy": {"denied": denied}})
    (rule,) = found["NetworkPolicy ava-outbound"]["spec"]["egress"]  # type: ignore[index]
    blocks = {each["ipBlock"]["cidr"]: each["ipBlock"]["except"] for each in rule["to"]}
    assert set(denied["ipv4"]) < set(blocks["0.0.0.0/0"])
    assert set(denied["ipv6"]) < set(blocks["2000::/3"])


@pytest.mark.parametrize("network", ["64:ff9b::/96", "fc00::/7", "2000::/3", "2600::", "10.0.0.0/8"])
def test_a_denied_network_that_the_policy_cannot_hold_is_refused(tmp_path: Path, network: str) -> None:
    with pytest.raises(ChartError, match=r"networkPolicy\.denied\.ipv6"):
        _render(tmp_path, {"networkPolicy": {"denied": {"ipv6": [network]}}})


def test_a_node_drains_as_long_as_the_longest_time_out(tmp_path: Path) -> None:
    values = {"longestTimeoutSeconds": 3600, "worker": {"queues": ["mail", "slow"], "autoscaling": {"kind": "hpa"}}}
    found = _render(tmp_path, values)
    deployment = found["Deployment ava-worker"]["spec"]  # type: ignore[index]
    pod = deployment["template"]["spec"]
    assert found["ConfigMap ava-jobs"]["data"]["AVA_DRAIN_SECONDS"] == "3600"  # type: ignore[index]
    assert pod["terminationGracePeriodSeconds"] == 3630
    assert pod["containers"][0]["args"] == ["start", "node", "-c", "4", "-q", "mail,slow"]
    assert "HorizontalPodAutoscaler ava-worker" in found
    assert "replicas" not in deployment


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ({"worker": {"replicas": 3, "concurrency": 8}}, "18"),
        ({"worker": {"replicas": 1, "concurrency": 1}}, "1"),
        # What may be started counts, and not what runs at first.
        ({"worker": {"concurrency": 4, "autoscaling": {"kind": "keda", "maxReplicas": 40}}}, "120"),
        ({"settings": {"AVA_TENANT_MAX_RUNNING": "0"}}, "0"),
    ],
)
def test_a_tenant_may_run_three_quarters_of_the_processes(tmp_path: Path, values: object, limit: str) -> None:
    assert _render(tmp_path, values)["ConfigMap ava-jobs"]["data"]["AVA_TENANT_MAX_RUNNING"] == limit  # type: ignore[index]


@pytest.mark.parametrize(
    ("worker", "args", "nodes", "limit"),
    [
        ({"slots": 200}, ["-c", "4", "--slots", "200", "--slot-processes", "1"], 2, "120"),
        (
            {"concurrency": 0, "slots": 50, "slotProcesses": 3},
            ["-c", "0", "--slots", "50", "--slot-processes", "3"],
            3,
            "4500",
        ),
    ],
)
def test_nodes_have_slots_and_keda_counts_a_pod_once(
    tmp_path: Path, worker: dict[str, object], args: list[str], nodes: int, limit: str
) -> None:
    found = _render(tmp_path, {"worker": {**worker, "autoscaling": {"kind": "keda"}}})
    (container,) = found["Deployment ava-worker"]["spec"]["template"]["spec"]["containers"]  # type: ignore[index]
    assert container["args"] == ["start", "node", *args]
    (trigger,) = found["ScaledObject ava-worker"]["spec"]["triggers"]  # type: ignore[index]
    # Each of its processes is a row of the nodes.
    assert f'(ava_nodes{{state="live"}}))[10m:1m]) / {nodes}\n' in trigger["metadata"]["query"]
    assert found["ConfigMap ava-jobs"]["data"]["AVA_TENANT_MAX_RUNNING"] == limit  # type: ignore[index]


def test_nodes_without_processes_and_slots_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ChartError, match=r"worker: "):
        _render(tmp_path, {"worker": {"concurrency": 0}})


def test_the_example_for_ingress_nginx_agrees_with_the_limits_of_the_api(tmp_path: Path) -> None:
    content = (CHART / "values.yaml").read_text()
    (annotation,) = re.findall(r"^    # (nginx\.ingress\S+/limit-connections: .+)$", content, re.MULTILINE)
    found = _render(tmp_path, {"ingress": {"enabled": True, "annotations": yaml.safe_load(annotation)}})
    annotations = found["Ingress ava-api"]["metadata"]["annotations"]  # type: ignore[index]
    prefix = "nginx.ingress.kubernetes.io/"
    assert 0 < int(annotations[f"{prefix}limit-connections"]) < _fixed(limits.CONNECTIONS)
    assert int(annotations[f"{prefix}proxy-body-size"].removesuffix("m")) << 20 >= _fixed(limits.BULK_BODY_BYTES)
    assert annotations[f"{prefix}proxy-buffering"] == "off"
    (controller,) = re.findall(r"^# controller:\n(?:#   .+\n)+", content, re.MULTILINE)
    config = yaml.safe_load(re.sub(r"^# ", "", controller, flags=re.MULTILINE))["controller"]["config"]
    # A ConfigMap holds strings.
    assert {type(value) for value in config.values()} == {str}
    assert int(config["client-header-timeout"]) <= _fixed(limits.HEADER_SECONDS)
    _, size = config["large-client-header-buffers"].split()
    assert int(size.removesuffix("k")) << 10 >= _fixed(limits.HEADER_FIELD_BYTES)


def test_an_unknown_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChartError, match="replica"):
        _render(tmp_path, {"worker": {"replica": 3}})
    with pytest.raises(ChartError, match="3601"):
        _render(tmp_path, {"longestTimeoutSeconds": 3601})


def test_the_chart_leaves_out_what_is_switched_off(tmp_path: Path) -> None:
    off = {"enabled": False}
    found = _render(tmp_path, {"migration": off, "networkPolicy": off, "api": {"autoscaling": off}})
    kinds = {name.split()[0] for name in found}
    assert kinds == {"ConfigMap", "Deployment", "Service", "PodDisruptionBudget"}
    assert found["Deployment ava-api"]["spec"]["replicas"] == 2  # type: ignore[index]
