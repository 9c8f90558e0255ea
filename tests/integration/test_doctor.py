"""`ava doctor` prints a line a check; a problem comes with what to do, and exit code 1."""

from __future__ import annotations

import base64
import subprocess
import sys
from contextlib import closing, redirect_stdout
from dataclasses import replace
from importlib import metadata
from io import StringIO
from typing import Literal
from urllib.parse import urlsplit

import pytest
from redis import Redis

from ava import settings as settings_module
from ava.broker import connectivity
from ava.cli.host import doctor, fleet_checks, server_checks
from ava.domain.secrets.sealing import Sealer
from ava.errors import SettingsError, StartError
from ava.node.celery_internals import requirements
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.jobs.replication import Standbys
from ava.store.reports import server
from ava.store.reports.server import ConnectionLimit, Durability
from harness.api import NODE
from harness.servers.redis import running_redis_cluster
from harness.servers.server import Server
from harness.system import ENCRYPTION_KEY, System

KEY, OTHER_KEY = base64.b64decode(ENCRYPTION_KEY), bytes(32)


def _doctor(system: System, **environ: str) -> tuple[int, dict[str, str]]:
    """Returns the exit code, and each check's line by its name."""
    # tests/acceptance/test_pooled.py asks it behind a pool.
    process = system.spawn("doctor", environ={"DATABASE_POOL_URL": "", **environ})
    exit_code = process.wait(60)
    lines = process.output.splitlines()
    assert all(line.startswith(("ok  ", "!!  ")) for line in lines), process.output
    return exit_code, {line[4:].split(":")[0]: line for line in lines}


def found(system: System, *names: str, **environ: str) -> dict[str, str]:
    """Returns the lines of some checks by their names; asked of the function, because a process takes half a second."""
    settings = settings_module.load({**system.environ, "DATABASE_POOL_URL": "", **environ})
    checks = {name: check for name, check in doctor._checks(settings, {}) if name in names}
    with redirect_stdout(StringIO()) as printed:
        for name, check in checks.items():
            doctor._report(name, check, settings)
    lines = printed.getvalue().splitlines()
    assert len(lines) == len(names), lines
    return dict(zip(checks, lines, strict=True))


#: The checks that need the database, in their order: of PostgreSQL, and of what it stores.
_OF_DATABASE = [
    *("database", "rights", "durability", "writes", "disk"),
    *("connections", "sessions", "replication", "partitions", "clock"),
]
_OF_FLEET = ["nodes", "workers", "agents", "encryption", "webhooks", "processes"]


def test_a_healthy_system_passes_but_for_the_server_of_the_tests(system: System) -> None:
    _pretend_that_all_run(system)
    exit_code, lines = _doctor(system)
    of_broker = ["broker", "node", "handlers", "queues"]
    assert list(lines) == ["settings", "secret", *_OF_DATABASE, *of_broker, *_OF_FLEET]
    assert [name for name, line in lines.items() if not line.startswith("ok")] == ["durability"]
    assert lines["durability"].startswith("!!  durability: fsync is off, so a crash of the machine may destroy")
    assert exit_code == 1
    assert lines["processes"].startswith("ok  processes: an active dispatcher; live nodes: 1 of version 0.1.0+x;")


def _pretend_that_all_run(system: System) -> None:
    system.query("UPDATE dispatcher_lease SET renewed_at = clock_timestamp() + interval '1 minute'")
    system.query(
        "INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes)"
        " VALUES (%s::uuid, 'ava@host', 'h', 1, '0.1.0+x', '{default}', '{}', 2)",
        NODE,
    )


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_each_process_kind_that_is_missing_is_named_and_a_sender_only_where_there_are_webhooks(system: System) -> None:
    settings = settings_module.load(system.environ)
    with pytest.raises(StartError) as refused:
        fleet_checks.check_processes(settings)
    assert "no dispatcher is active" in str(refused.value)
    assert "no node is live" in str(refused.value)
    assert "sender" not in str(refused.value)
    _pretend_that_all_run(system)
    assert "an active dispatcher" in fleet_checks.check_processes(settings)
    system.query(
        "INSERT INTO webhook_endpoints (tenant_id, url, events, secret)"
        " VALUES ('ten_test', 'https://example.com', '{ava.job.failed}', 'x')"
    )
    with pytest.raises(StartError, match=r"^no sender is live, so 1 webhook gets nothing: run `ava start sender`"):
        fleet_checks.check_processes(settings)
    system.query("INSERT INTO webhook_senders (id, host, pid) VALUES (%s::uuid, 'h', 1)", NODE)
    assert fleet_checks.check_processes(settings).endswith("senders of webhooks: 1")


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_name_that_is_no_setting_is_named_with_the_one_that_it_resembles(system: System) -> None:
    exit_code, lines = _doctor(system, AVA_DRAIN_SECOND="300", AVA_WORKER_SLEPP_TOKEN="x")
    assert exit_code == 1
    assert lines["settings"] == (
        "!!  settings: AVA_DRAIN_SECOND is not a setting and is ignored: did you mean AVA_DRAIN_SECONDS?"
    )
    assert lines["handlers"].endswith("; no handler here uses AVA_WORKER_SLEPP_TOKEN")


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_role_without_rights_is_a_line_of_doctor_and_of_each_process(system: System) -> None:
    role = f"lean_{NODE[:8]}"
    system.query(f"CREATE ROLE {role} LOGIN PASSWORD 'sesame'")
    try:
        url = _as_role(system.database_url, role)
        settings = replace(settings_module.load(system.environ), database_url=url, database_pool_url="")
        # Nothing is granted, then only what one needs to find out.
        lines = found(system, "database", DATABASE_URL=url)
        assert "permission denied for table alembic_version" in lines["database"]
        assert "grant them by `ava db upgrade`" in lines["database"]
        process = system.spawn("dispatcher", environ={"DATABASE_URL": url, "DATABASE_POOL_URL": ""})
        assert process.wait(60) == 1
        assert process.output.startswith(
            "ava: DATABASE_URL: its role lacks the rights for this (permission denied for table"
        )
        system.query(f"GRANT SELECT ON alembic_version, schema_compatibility, installation TO {role}")
        with pytest.raises(
            StartError, match=r"lacks DELETE on \w+, .* and others\. Set DATABASE_OWNER_URL .* `ava db upgrade`"
        ):
            server_checks.check_rights(settings)
        lines = found(system, "webhooks", DATABASE_URL=url)
        assert "InsufficientPrivilege, SQLSTATE 42501: permission denied for table" in lines["webhooks"]
        system.query(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        system.query(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")
        assert server_checks.check_rights(settings) == "the role may read and write every table"
        system.query(f"ALTER ROLE {role} CONNECTION LIMIT 20")
        with pytest.raises(StartError, match=r"use up to .*, but CONNECTION LIMIT of the role .* allows 20: raise it"):
            server_checks.check_connections(replace(settings, api_processes=4))
        assert "connections are used (CONNECTION LIMIT of the role" in server_checks.check_connections(
            replace(settings, api_processes=1, api_connections=1)
        )
    finally:
        system.query(f"DROP OWNED BY {role}")
        system.query(f"DROP ROLE {role}")


def test_a_slot_process_holds_as_many_connections_for_any_number_of_slots(database_settings: Settings) -> None:
    with closing(Database(database_settings.database_url, name="test")) as database, database.connect() as connection:
        connection.exec_driver_sql(
            "INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes, has_slots) VALUES"
            " (gen_random_uuid(), 'slots', 'a', 1, '0', '{}', '{}', 2000, true),"
            " (gen_random_uuid(), 'pool', 'a', 1, '0', '{}', '{}', 4, false)"
        )
    settings = replace(database_settings, api_processes=1, api_connections=10, database_pool_url="")
    # The API's 10, two nodes of 2, four processes of 2, a slot process of 8, the dispatcher's 7, the sender's 3.
    assert server_checks.check_connections(settings).endswith("a dispatcher and a sender use up to 40")


def _as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}:sesame@{parts.netloc.rpartition('@')[2]}").geturl()


def test_commits_that_wait_for_no_disk_and_connections_that_are_used_up_are_named(
    database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for durability, named in (
        (Durability(has_fsync=False, synchronous_commit="on"), "fsync is off"),
        (Durability(has_fsync=True, synchronous_commit="off"), "synchronous_commit is off"),
    ):
        monkeypatch.setattr(server, "read_durability", lambda _, found=durability: found)
        with pytest.raises(StartError, match=named):
            server_checks.check_durability(database_settings)
    used_up = ConnectionLimit(name="max_connections", limit=97, used=96)
    monkeypatch.setattr(server, "connection_limits", lambda _: [used_up])
    with pytest.raises(
        StartError, match=r"96 of 97 connections are used \(max_connections\), so a new process gets none"
    ):
        server_checks.check_connections(database_settings)


def test_a_synchronous_standby_that_is_not_there_is_named() -> None:
    with pytest.raises(StartError, match=r"^0 of 1 synchronous standbys are connected, so every commit waits"):
        doctor._describe_standbys(Standbys(may_read=True, required=1, found=0))
    assert "1 of 1" in doctor._describe_standbys(Standbys(may_read=True, required=1, found=1))


def test_settings_of_redis_that_harm_a_broker_are_named(database_settings: Settings, private_redis: Server) -> None:
    settings = replace(database_settings, broker_url=private_redis.url)
    with Redis.from_url(private_redis.url) as client:
        for name, value, named in (
            ("maxmemory-policy", "allkeys-lru", "maxmemory-policy of this Redis is allkeys-lru, so it evicts messages"),
            ("timeout", "60", r"closes connections that are idle for 60 s \(timeout\)"),
        ):
            before = client.config_get(name)[name]
            client.config_set(name, value)
            with pytest.raises(StartError, match=named):
                doctor._check_broker(settings)
            client.config_set(name, before)
        # Managed servers have no CONFIG, and users with the least rights no INFO.
        client.execute_command("ACL", "SETUSER", "lean", "on", ">sesame", "~*", "&*", "+@all", "-config", "-info")
    lean = f"redis://lean:sesame@{private_redis.url.rpartition('@')[2]}"
    connectivity.require_safe_redis(replace(settings, broker_url=lean))


@pytest.mark.parametrize(
    ("url", "is_verified"),
    [
        ("postgresql://ava@db.example.com/ava", False),
        ("postgresql://ava@db.example.com/ava?sslmode=require", False),
        ("postgresql://ava@db.example.com/ava?sslmode=verify-full", True),
        ("postgresql://ava@127.0.0.1,db.example.com/ava", False),
        ("postgresql://ava@127.0.0.1:5433/ava", True),
        ("postgresql:///ava?host=/run/postgresql", True),
    ],
)
def test_a_database_whose_certificate_is_not_verified_is_named(url: str, is_verified: bool) -> None:
    assert doctor._is_verified(url) is is_verified


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_database_behind_one_ahead_and_one_of_another_commit_are_distinguished(system: System) -> None:
    newer = (
        "UPDATE alembic_version SET version_num = 'r9999'; UPDATE schema_compatibility SET oldest_revision = 'r9999'"
    )
    other = (
        "UPDATE alembic_version SET version_num = '0100'; UPDATE schema_compatibility"
        " SET oldest_revision = '0100', baseline_digest = ''"
    )
    refused = (
        (newer, "newer than this release"),
        (other, "another commit's schema (a commit before version 0.1.0)"),
        ("DELETE FROM alembic_version", "ava db upgrade"),
    )
    for change, words in refused:
        system.query(change)
        lines = found(system, "database")
        assert lines["database"].startswith("!!")
        assert words in lines["database"]


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_every_problem_is_reported_in_one_run_and_no_tail_of_a_password_with_an_at_sign(system: System) -> None:
    exit_code, lines = _doctor(
        system,
        DATABASE_URL="postgresql://ava:pass@sesame@127.0.0.1:1/ava",
        BROKER_URL="amqp://127.0.0.1:1//",
        AVA_INTERNAL_SECRET="",
        AVA_HANDLERS="no_such_module",
    )
    assert exit_code == 1
    wrong = [name for name, line in lines.items() if line.startswith("!!")]
    assert wrong == ["secret", *_OF_DATABASE, "broker", "handlers", "queues", *_OF_FLEET]
    assert "AVA_INTERNAL_SECRET" in lines["secret"]
    assert "no_such_module" in lines["handlers"]
    assert "cannot be reached" in lines["database"]
    assert not any("sesame" in line for line in lines.values())


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_an_unknown_option_of_the_broker_url_is_one_line(system: System) -> None:
    url = "rediss://:sesame@127.0.0.1:1/0?ca_certs=/x.pem"
    lines = found(system, "broker", "queues", BROKER_URL=url)
    for name in ("broker", "queues"):
        assert lines[name].startswith("!!")
        assert "BROKER_URL: an option in its query" in lines[name]
        assert "ssl_ca_certs" in lines[name]
    worker = system.spawn("worker", "-c", "1", environ={"BROKER_URL": url})
    assert worker.wait(30) == 1
    assert worker.output.startswith("ava: BROKER_URL: an option in its query")
    assert "sesame" not in worker.output


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_one_of_several_database_hosts_is_enough(system: System) -> None:
    authority, slash, rest = system.database_url.partition("://")[2].partition("/")
    credentials, at, host = authority.rpartition("@")
    several = f"postgresql://{credentials}{at}127.0.0.1:1,{host}{slash}{rest}"
    lines = found(system, "database", DATABASE_URL=several)
    assert lines["database"].startswith("ok"), lines["database"]


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_redis_user_who_may_not_consume_is_named_by_doctor_and_worker(system: System, private_redis: Server) -> None:
    with Redis.from_url(private_redis.url) as client:
        client.execute_command("ACL", "SETUSER", "node", "on", ">secret-of-node", "~*", "&*", "+@all", "-brpop")
    url = f"redis://node:secret-of-node@{private_redis.url.rpartition('@')[2]}"
    lines = found(system, "broker", BROKER_URL=url)
    assert lines["broker"].startswith("!!")
    assert "consume" in lines["broker"]
    assert "brpop" in lines["broker"]
    with Redis.from_url(private_redis.url) as client:
        assert not client.keys("ava.doctor.*"), "the queue is deleted, whatever happened"
    worker = system.spawn("worker", "-c", "1", environ={"BROKER_URL": url})
    assert worker.wait(60) == 1
    assert worker.output.splitlines()[-1].startswith("ava: The node ended, because of NoPermissionError: ")
    assert "Traceback" not in worker.output
    assert "secret-of-node" not in worker.output


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_redis_cluster_is_refused_by_doctor_and_worker(system: System) -> None:
    with running_redis_cluster() as cluster:
        lines = found(system, "broker", BROKER_URL=cluster.url)
        assert lines["broker"].startswith("!!  broker: BROKER_URL: nodes cannot use a Redis Cluster")
        worker = system.spawn("worker", "-c", "1", environ={"BROKER_URL": cluster.url})
        assert worker.wait(60) == 1
        last = worker.output.splitlines()[-1]
        assert last.startswith("ava: BROKER_URL: nodes cannot use a Redis Cluster")
        assert "Traceback" not in worker.output


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_machine_without_semaphores_is_named_by_doctor_and_worker(system: System) -> None:
    # A mount namespace of its own, in which no file can be made in /dev/shm.
    without = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "-")
    if subprocess.run([*without, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace can be made here")
    said = "no POSIX semaphore can be made ([Errno 30] Read-only file system)"
    for command, line in (("doctor", f"!!  node: {said}"), ("worker", f"ava: {said}")):
        ended = subprocess.run(
            [*without, sys.executable, "-m", "ava.cli.main", command],
            env=system.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 1
        assert line in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("pool", ["ava", "celery"])
def test_an_untested_version_is_named(
    database_settings: Settings, monkeypatch: pytest.MonkeyPatch, pool: Literal["ava", "celery"]
) -> None:
    real = metadata.version
    monkeypatch.setattr(requirements.metadata, "version", lambda name: "5.8.0" if name == "kombu" else real(name))
    settings = replace(database_settings, pool=pool)
    if pool == "celery":
        assert "an untested version: kombu 5.8.0 was not tested" in doctor._check_node(settings)
    else:
        with pytest.raises(StartError, match=r"kombu 5\.8\.0 was not tested .*AVA_POOL=celery"):
            doctor._check_node(settings)


def test_the_keys_must_open_every_secret(database_settings: Settings) -> None:
    def check(*keys: bytes) -> str:
        return doctor._check_encryption(replace(database_settings, encryption_keys=keys))

    assert check() == "AVA_ENCRYPTION_KEY is not set; there are no secrets, but the sender does not start without it"
    database = Database.of(database_settings, name="tests")
    with database.connect() as connection:
        connection.exec_driver_sql(
            "INSERT INTO webhook_endpoints (tenant_id, url, events, secret)"
            " VALUES ('ten_test', 'https://example.com', '{ava.job.failed}', %s)",
            (Sealer([KEY]).seal("of the tests"),),
        )
    database.close()
    assert check(OTHER_KEY, KEY) == "AVA_ENCRYPTION_KEY decrypts the secrets of all webhooks and workers (1)"
    with pytest.raises(SettingsError, match="it is not set, but 1 webhooks or workers have secrets"):
        check()
    with pytest.raises(SettingsError, match=r"0 of 1 webhooks and workers; the others, such as wh_"):
        check(OTHER_KEY)
