"""The deployment files are valid and agree with the code."""

from __future__ import annotations

import base64
import inspect
import ipaddress
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ava import worker
from ava.cli.host.processes import start
from ava.cli.main import cli
from ava.domain.limits.table import LIMITS
from ava.settings import load
from ava.version import VERSION
from harness.system import ROOT
from tools import manifest_schemas, manifests
from tools.manifests import CHART
from tools.site import reference

#: The variables without which the compose file refuses to start.
REQUIRED = (
    *("POSTGRES_PASSWORD", "DATABASE_PASSWORD", "BROKER_PASSWORD"),
    *("AVA_INTERNAL_SECRET", "AVA_ENCRYPTION_KEY"),
)
#: The secrets that each pod gets, besides DATABASE_URL and BROKER_URL.
POD_SECRETS = {
    "ava-migrate": {"ava-jobs", "ava-jobs-owner"},
    "ava-api": {"ava-jobs", "ava-jobs-callers", "ava-jobs-encryption", "ava-jobs-messages"},
    "ava-worker": {"ava-jobs", "ava-jobs-encryption", "ava-jobs-messages"},
    "ava-dispatcher": {"ava-jobs", "ava-jobs-encryption", "ava-jobs-messages"},
    "ava-webhooks": {"ava-jobs", "ava-jobs-encryption"},
}
COMMANDS = {"start api", "start node", "start dispatcher", "start sender", "db upgrade"}
#: Addresses that nodes and senders may call, and others that they may not.
PUBLIC = [ipaddress.ip_address(each) for each in ("8.8.8.8", "2606:4700::1111")]
NOT_PUBLIC = [
    ipaddress.ip_address(each)
    for each in (
        *("10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "100.100.100.200"),
        *("168.63.129.16", "192.0.0.192", "224.0.0.1", "64:ff9b::a00:1", "fd00:ec2::254", "fe80::1", "::1"),
        *("2001:0:a00:1::1", "2002:a00:1::1", "2001:db8::1", "3fff::1"),
    )
]
#: The limits that the dispatcher and the nodes apply as well as the API.
DISPATCHER_LIMITS = {
    *("AVA_TENANT_MAX_QUEUED", "AVA_TENANT_MAX_RUNNING"),
    *("AVA_TENANT_MAX_STORED_BYTES", "AVA_TENANT_MOST_URGENT_PRIORITY", "AVA_TENANT_MAX_WAITING"),
}


def _compose_holders() -> dict[str, set[str]]:
    """Returns the services of the compose file that get each variable."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    holders: dict[str, set[str]] = {}
    for service, description in services.items():
        for name in description.get("environment", {}):
            holders.setdefault(name, set()).add(service)
    return holders


def _manifests() -> list[dict[str, object]]:
    content = (ROOT / "deploy/kubernetes/ava-jobs.yaml").read_text()
    return [document for document in yaml.safe_load_all(content) if document]


def test_every_container_runs_an_existing_command() -> None:
    found = re.findall(r'args: \["([a-z]+)", "([a-z]+)"', (ROOT / "deploy/kubernetes/ava-jobs.yaml").read_text())
    assert {f"{group} {name}" for group, name in found} == COMMANDS
    assert all(name in cli.commands[group].commands for group, name in found)  # type: ignore[attr-defined]


def test_every_named_setting_is_documented() -> None:
    documented = reference.configuration()
    for file in (*ROOT.glob("deploy/**/*.y*ml"), *ROOT.glob("deploy/**/*.tpl"), ROOT / "docker-compose.yml"):
        for name in set(re.findall(r"\bAVA_[A-Z_]+\b", file.read_text())):
            assert f"`{name}`" in documented, f"{name} in {file.name}"


def test_the_deployments_limit_rates_to_the_platforms_figures() -> None:
    figures = {"READ": "300/minute", "WRITE": "60/minute", "WEBHOOKS": "30/minute"}
    config = next(manifest for manifest in _manifests() if manifest["kind"] == "ConfigMap")
    api = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["api"]["environment"]
    for name, rate in figures.items():
        variable = f"AVA_RATE_LIMIT_{name}"
        assert config["data"][variable] == rate  # type: ignore[index]
        assert api[variable] == f"${{{variable}:-{rate}}}"


def test_the_deployments_name_the_limits_that_keep_one_tenant_from_the_others() -> None:
    config = next(manifest for manifest in _manifests() if manifest["kind"] == "ConfigMap")
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name, value, readers in (
        ("AVA_RATE_LIMIT_TENANT_KEYS", "10", ("api",)),
        ("AVA_TENANT_MOST_URGENT_PRIORITY", "1", ("api", "dispatcher", "worker")),
    ):
        assert config["data"][name] == value  # type: ignore[index]
        assert {services[each]["environment"][name] for each in readers} == {f"${{{name}:-{value}}}"}


def test_every_pod_is_allowed_by_the_restricted_pod_security_standard() -> None:
    pods = [manifest for manifest in _manifests() if manifest["kind"] in ("Deployment", "Job")]
    assert len(pods) == len(POD_SECRETS)
    for each in pods:
        pod = each["spec"]["template"]["spec"]  # type: ignore[index]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_no_image_is_named_without_a_release() -> None:
    content = (ROOT / "deploy/kubernetes/ava-jobs.yaml").read_text()
    kustomization = yaml.safe_load((ROOT / "deploy/kubernetes/kustomization.yaml").read_text())
    assert set(re.findall(r"image: (\S+)", content)) == {f"ava-jobs:{VERSION}"}
    assert [image["name"] for image in kustomization["images"]] == ["ava-jobs"]
    assert [image["newTag"] for image in kustomization["images"]] == [VERSION]
    for name in kustomization["resources"]:
        assert (ROOT / "deploy/kubernetes" / name).exists()
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_the_manifests_and_the_charts_values_agree_with_their_schemas() -> None:
    assert list(manifests.check()) == []


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        ("Deployment", {"replica": 2}, "'replica' was unexpected"),
        ("Deployment", {"replicas": "two"}, '"two" is not'),
        ("Service", {"ports": [{"name": "http"}]}, '"port" is a required property'),
    ],
)
def test_a_wrong_manifest_is_found(kind: str, change: dict[str, object], problem: str) -> None:
    manifest = next(each for each in _manifests() if each["kind"] == kind)
    manifest["spec"] |= change  # type: ignore[operator]
    (found,) = manifest_schemas.problems(manifest)
    assert problem in found


def test_a_rollout_or_a_lost_machine_leaves_one_of_each_process() -> None:
    documents = _manifests()
    budgets = {each["metadata"]["name"] for each in documents if each["kind"] == "PodDisruptionBudget"}  # type: ignore[index]
    scaled = {
        each["metadata"]["name"]: each["spec"]["minReplicas"]  # type: ignore[index]
        for each in documents
        if each["kind"] == "HorizontalPodAutoscaler"
    }
    deployments = [each for each in documents if each["kind"] == "Deployment"]
    assert {each["metadata"]["name"] for each in deployments} == budgets  # type: ignore[index]
    for deployment in deployments:
        name, spec = deployment["metadata"]["name"], deployment["spec"]  # type: ignore[index]
        pod = spec["template"]["spec"]
        # A Deployment that is scaled says no number, because each upgrade would put it back.
        assert (scaled[name] if name in scaled else spec["replicas"]) >= 2, name
        assert ("replicas" in spec) == (name not in scaled)
        assert name in budgets
        assert pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == {"app": name}
        assert "readinessProbe" in pod["containers"][0], name


def test_a_node_may_drain_before_its_pod_is_killed() -> None:
    documents = {(each["kind"], each["metadata"]["name"]): each for each in _manifests()}  # type: ignore[index]
    drain = int(documents["ConfigMap", "ava-jobs"]["data"]["AVA_DRAIN_SECONDS"])  # type: ignore[index]
    pod = documents["Deployment", "ava-worker"]["spec"]["template"]["spec"]  # type: ignore[index]
    assert drain >= inspect.signature(worker).parameters["timeout_seconds"].default
    assert pod["terminationGracePeriodSeconds"] > drain


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
    _check_compose("--profile", broker, "--profile", "flower", environ=dict.fromkeys(REQUIRED, "x"))


def _check_compose(*options: str, environ: dict[str, str]) -> None:
    if not shutil.which("docker-compose"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("docker-compose is needed; on Debian apt-get install it")
    command, environ = ("docker-compose", *options, "config", "--quiet"), environ | {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_no_pod_gets_a_secret_that_its_process_does_not_need() -> None:
    found = {}
    for manifest in _manifests():
        if manifest["kind"] in ("Deployment", "Job"):
            (container,) = manifest["spec"]["template"]["spec"]["containers"]  # type: ignore[index]
            references = [each["secretRef"]["name"] for each in container["envFrom"] if "secretRef" in each]
            found[manifest["metadata"]["name"]] = set(references)  # type: ignore[index]
    assert found == POD_SECRETS


def test_a_network_policy_holds_for_every_pod_and_private_addresses_are_not_called() -> None:
    content = (ROOT / "deploy/kubernetes/network-policy.yaml").read_text()
    policies = {each["metadata"]["name"]: each["spec"] for each in yaml.safe_load_all(content)}
    (selected,) = policies["ava-jobs"]["podSelector"]["matchExpressions"]
    assert set(selected["values"]) == POD_SECRETS.keys()
    assert policies["ava-jobs"]["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = policies["ava-outbound"]["egress"]
    blocks = {ipaddress.ip_network(each["ipBlock"]["cidr"]): each["ipBlock"]["except"] for each in rule["to"]}
    for public, networks in blocks.items():
        excepted = [ipaddress.ip_network(content) for content in networks]
        # Kubernetes refuses any other.
        assert all(network.version == public.version and network.subnet_of(public) for network in excepted)
        called = [each for each in NOT_PUBLIC if each in public and not any(each in network for network in excepted)]
        assert called == []
    assert [each for each in PUBLIC if not any(each in public for public in blocks)] == []


def test_podman_can_run_every_health_check() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    checks = [service["healthcheck"]["test"] for service in services.values() if "healthcheck" in service]
    assert len(checks) >= 7
    # Its Docker API joins the arguments of CMD and splits them at their spaces.
    assert [check for check in checks if check[0] == "CMD" and " " in "".join(check[1:])] == []


def test_a_command_writes_the_secrets_that_compose_needs_and_keeps_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("AVA_INTERNAL_SECRET=my-own\nBROKER_PASSWORD=\nAPI_PORT=8081")
    command, environ = (ROOT / "tools/compose_env.sh", file), {"PATH": "/usr/bin:/bin"}
    subprocess.run(command, env=environ, check=True, capture_output=True)
    written = file.read_text()
    found = dict(line.split("=", 1) for line in written.splitlines())
    assert (found["AVA_INTERNAL_SECRET"], found["API_PORT"], set(REQUIRED) <= found.keys()) == ("my-own", "8081", True)
    assert all(len(found[name]) > 30 for name in set(REQUIRED) - {"AVA_INTERNAL_SECRET"})
    assert len(base64.b64decode(found["AVA_ENCRYPTION_KEY"], validate=True)) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    subprocess.run(command, env=environ, check=True, capture_output=True)
    assert file.read_text() == written
    for page in ("README.md", "docs/operate/install.md", "docker-compose.yml"):
        assert "tools/compose_env.sh" in (ROOT / page).read_text(), page
    _check_compose("--env-file", str(file), environ={})


def test_the_compose_file_has_no_password_of_its_own() -> None:
    content = (ROOT / "docker-compose.yml").read_text()
    for name in REQUIRED:
        assert f"${{{name}:?" in content
    assert not re.search(r"(PASSWORD|PASS|SECRET|KEY): [^$\s]", content)
    assert not re.search(r"://[^$@\s]*:[^$@\s]+@", content)


def test_compose_gives_no_process_a_secret_that_it_does_not_need() -> None:
    holders = _compose_holders()
    assert holders["DATABASE_OWNER_URL"] == {"migrate"}
    assert holders["AVA_INTERNAL_SECRET"] == {"api"}
    assert holders["AVA_ENCRYPTION_KEY"] == {"api", "dispatcher", "webhooks", "worker"}
    assert holders["AVA_MESSAGE_KEY"] == {"api", "dispatcher", "worker"}


def test_compose_passes_each_limit_to_the_processes_that_apply_it() -> None:
    holders = _compose_holders()
    settings = {limit.setting for limit in LIMITS if limit.setting}
    assert settings > DISPATCHER_LIMITS
    for setting in settings:
        assert holders.get(setting) == ({"api", "dispatcher", "worker"} if setting in DISPATCHER_LIMITS else {"api"}), (
            setting
        )


def test_compose_passes_the_outbound_rules_to_the_processes_that_call_out_and_the_brokers_authority_to_all() -> None:
    holders = _compose_holders()
    for name in ("AVA_OUTBOUND_ALLOW", "AVA_OUTBOUND_DENY", "AVA_OUTBOUND_NAT64", "AVA_WEBHOOK_ALLOW_PRIVATE"):
        assert holders.get(name) == {"api", "webhooks", "worker"}, name
    assert holders.get("AVA_BROKER_CA") == holders["BROKER_URL"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for service in holders["BROKER_URL"]:
        assert services[service]["volumes"] == ["${CERTIFICATES:-certificates}:/etc/ava/certificates:ro"]


def test_settings_that_compose_passes_without_a_value_count_as_not_set() -> None:
    content = (ROOT / "docker-compose.yml").read_text()
    empty = dict.fromkeys(re.findall(r"^ +(AVA_\w+): \$\{\1:-\}$", content, re.MULTILINE), "")
    servers = {"DATABASE_URL": "postgresql://ava@localhost/ava", "BROKER_URL": "redis://localhost"}
    assert {"AVA_TENANT_MAX_STREAMS", "AVA_OUTBOUND_DENY", "AVA_BROKER_CA", "AVA_MESSAGE_KEY"} <= empty.keys()
    assert load(servers | empty) == load(servers)


def test_a_tenant_may_run_three_quarters_of_the_processes_that_compose_starts() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    (processes,) = re.findall(r"\$\{WORKER_PROCESSES:-(\d+)\}", str(services["worker"]["command"]))
    for service in ("api", "dispatcher"):
        limit = services[service]["environment"]["AVA_TENANT_MAX_RUNNING"]
        assert limit == f"${{AVA_TENANT_MAX_RUNNING:-{int(processes) * 3 // 4}}}"


def test_every_image_is_named_by_its_digest_and_can_be_replaced() -> None:
    compose, dockerfile = ((ROOT / name).read_text() for name in ("docker-compose.yml", "Dockerfile"))
    documented = (ROOT / "docs/explain/security.md").read_text()
    images = set(re.findall(r"^    image: (.+)$", compose, re.MULTILINE))
    pinned = r"[a-z]+:[\w.-]+@sha256:[0-9a-f]{64}"
    names = {re.fullmatch(rf"\$\{{([A-Z]+_IMAGE):-{pinned}\}}", image)[1] for image in images}  # type: ignore[index]
    assert names == {"POSTGRES_IMAGE", "REDIS_IMAGE", "RABBITMQ_IMAGE"}
    assert all(f"`{name}`" in documented for name in {*names, "PYTHON_IMAGE"})
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == ["${PYTHON_IMAGE}"] * 2
    (python,) = re.findall(rf"^ARG PYTHON_IMAGE=({pinned})$", dockerfile, re.MULTILINE)
    assert f"PYTHON_IMAGE: ${{PYTHON_IMAGE:-{python}}}" in compose


def test_postgresql_has_the_largest_share_of_processors_and_senders_the_smallest() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    shares = {name: service["cpu_shares"] for name, service in services.items() if "cpu_shares" in service}
    assert sorted(shares, key=lambda name: -shares[name]) == ["postgres", "api", "dispatcher", "worker", "webhooks"]
    requests = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        for each in _manifests()
        if each["kind"] == "Deployment"
    }
    assert set(requests) == {"ava-api", "ava-worker", "ava-dispatcher", "ava-webhooks"}
    weights = {
        path.parent.name: re.findall(r"^CPUWeight=(\d+)$", path.read_text(), re.MULTILINE)
        for path in (ROOT / "deploy/systemd").glob("*.d/cpu.conf")
    }
    # Those of the API and the dispatcher are systemd's 100.
    assert weights == {"ava@node.service.d": ["50"], "ava@sender.service.d": ["20"]}


def test_the_units_of_systemd_are_hardened_and_take_the_options_of_their_process() -> None:
    content = (ROOT / "deploy/systemd/ava@.service").read_text()
    found = dict(re.findall(r"^(\w+)=(.*)$", content, re.MULTILINE))
    hardened = ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "LockPersonality")
    hardened += ("RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "ProtectControlGroups")
    hardened += tuple(f"ProtectKernel{part}" for part in ("Logs", "Modules", "Tunables"))
    assert {name: found.get(name) for name in hardened} == dict.fromkeys(hardened, "yes")
    assert (found["ProtectSystem"], found["ProtectProc"], found["UMask"]) == ("strict", "invisible", "0077")
    assert (found["CapabilityBoundingSet"], found["SystemCallFilter"]) == ("", "@system-service")
    assert set(found["RestrictAddressFamilies"].split()) == {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"}
    # systemd splits the value into words. Without one there are none.
    assert found["ExecStart"].endswith("/ava start %i $OPTIONS")
    assert found["Environment"] == "OPTIONS="
    for kind, line in re.findall(r"`OPTIONS=(--\w+) [^`]*(--\w+) [^`]*`", content):
        assert any({kind, line} <= {*opts} for opts in _options().values()), (kind, line)


def _options() -> dict[str, set[str]]:
    return {name: {opt for param in command.params for opt in param.opts} for name, command in start.commands.items()}
