"""The users of deploy/redis/users.acl and deploy/rabbitmq/users.sh have what each process needs, and no more."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
import requests
from kombu import Connection

from ava import settings
from ava.broker import connectivity
from ava.broker.celery_app import make_queue
from ava.local.start import free_port
from harness.polling import wait_until
from harness.servers.rabbitmq import RabbitMQ
from harness.servers.server import Server
from harness.system import ROOT, System

PROCESSES = {"api": "ava_api", "dispatcher": "ava_dispatcher", "worker": "ava_worker"}
PASSWORD = "PASSWORD"
#: The requests of a tenant that may write.
WRITES = 10
RATES = {"AVA_RATE_LIMIT_READ": "100000/hour", "AVA_RATE_LIMIT_WRITE": f"{WRITES}/hour"}
#: What the API does in Redis to count requests.
COUNTING = {"evalsha", "script|load"}


def _create_on_redis(url: str) -> bool:
    """Create the users of the example, but leave the administrator that the test needs.

    Returns whether the server knows selectors; for one that does not they are left out, as the file says.
    """
    with redis.Redis.from_url(url) as client:
        knows_selectors = int(client.info("server")["redis_version"].split(".")[0]) >= 7
        for line in (ROOT / "deploy/redis/users.acl").read_text().splitlines():
            if line.startswith("user ava_"):
                rule = line if knows_selectors else re.sub(r" \(.*?\)", "", line)
                _, name, *rules = rule.split()
                client.execute_command("ACL", "SETUSER", name, *rules)
    return knows_selectors


def _create_on_rabbitmq(server: RabbitMQ, virtual_host: str, folder: Path) -> None:
    """Run the example with a program that writes down what it asks `rabbitmqctl` to do, and do that."""
    recorder, record = folder / "rabbitmqctl", folder / "record"
    recorder.write_text(f"#!/bin/sh\nprintf '%s\\t' \"$@\" >>{record}\necho >>{record}\n")
    recorder.chmod(0o755)
    environ = {**os.environ, "RABBITMQCTL": str(recorder)}
    subprocess.run([ROOT / "deploy/rabbitmq/users.sh", *[PASSWORD] * 3], env=environ, check=True)
    for line in record.read_text().splitlines():
        action, *arguments = line.rstrip("\t").split("\t")
        if action == "add_user":
            server._call("PUT", f"users/{arguments[0]}", {"password": arguments[1], "tags": ""}).raise_for_status()
        elif action == "set_permissions":
            _, _, user, configure, write, read = arguments
            rights = {"configure": configure, "write": write, "read": read}
            server._call("PUT", f"permissions/{virtual_host}/{user}", rights).raise_for_status()


def _refused(url: str) -> list[tuple[str, str, str]]:
    """Returns what Redis has refused: the user, the command, key or channel, and which of these it was."""
    with redis.Redis.from_url(url) as client:
        log = client.acl_log()
    found = [(each["username"], each["object"], each["reason"]) for each in log]
    # redis-py introduces itself with CLIENT, and goes on if that is refused.
    return [each for each in found if each[1].partition("|")[0] != "client"]


def _work(system: System) -> None:
    """Run a job, and cancel another; then write until the rate limit refuses it."""
    system.await_ready()
    running = system.trigger("wkr_sleep", input={"seconds": 60})
    system.wait_for(running["id"], "running")
    assert system.cancel(running["id"]).status_code == 200
    assert system.wait_for(running["id"])["status"] == "cancelled"
    assert system.wait_for(system.trigger("wkr_sleep", input={"seconds": 0})["id"])["status"] == "completed"
    # Three requests have written.
    statuses = [system.post("/v1/ava/jobs", json={}).status_code for _ in range(WRITES - 2)]
    assert statuses == [*[400] * (WRITES - 3), 429]


def _as(user: str, url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{user}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}").geturl()


def test_every_process_works_with_the_rights_of_its_user(
    system: System, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    is_redis = system.broker_url.startswith("redis")
    counts_in_redis = False
    if is_redis:
        # A server of its own, whose log of refusals holds nothing else.
        system.broker_url = request.getfixturevalue("private_redis").url
        counts_in_redis = _create_on_redis(system.broker_url)
    else:
        virtual_host = system.broker_url.rpartition("/")[2]
        _create_on_rabbitmq(request.getfixturevalue("rabbitmq_server"), virtual_host, tmp_path)
    urls = {name: {"BROKER_URL": _as(user, system.broker_url)} for name, user in PROCESSES.items()}
    for environ in urls.values():
        connectivity.require(settings.load({"DATABASE_URL": system.database_url, **environ}), takes_messages=True)
    system.api = system.spawn("api", "--port", str(system.port), environ=urls["api"] | RATES)
    system.spawn("dispatcher", environ=urls["dispatcher"])
    health = free_port()
    system.spawn("webhooks", environ={"BROKER_URL": "", "AVA_HEALTH_PORT": str(health)})
    system.workers.append(system.spawn("worker", "-c", "1", environ=urls["worker"]))
    try:
        _work(system)
    except AssertionError as problem:
        raise AssertionError(f"refused: {_refused(system.broker_url) if is_redis else ''}") from problem
    # A process that connects to no broker has none, and says nothing of one.
    ready = requests.get(f"http://127.0.0.1:{health}/readyz", timeout=30).json()
    assert (ready["status"], list(ready["checks"])) == ("ok", ["database", "migrations", "writes", "disk"])
    assert all("ACCESS_REFUSED" not in each.output and "refuse" not in each.output for each in system.processes)
    if is_redis:
        with redis.Redis.from_url(system.broker_url) as client:
            wait_until(lambda: client.get("ava.reset_marker"), what="the dispatcher has set its marker")
            # All API processes count in Redis, where it knows selectors.
            assert bool(client.keys("LIMITS:*")) == counts_in_redis
        assert counts_in_redis == ("falling back" not in system.api.output)
        expected = set() if counts_in_redis else {("ava_api", command, "command") for command in COUNTING}
        assert set(_refused(system.broker_url)) <= expected


@pytest.mark.redis
@pytest.mark.parametrize(
    "command",
    [
        ("BRPOP", "default", "1"),
        ("RPOP", "default"),
        ("LRANGE", "default", "0", "-1"),
        ("LTRIM", "default", "1", "0"),
        ("LINDEX", "default", "0"),
        ("EXPIRE", "default", "1"),
        ("DEL", "ava.reset_marker"),
        ("DEL", "LIMITS:x"),
        ("FLUSHALL",),
        ("KEYS", "*"),
        ("CONFIG", "GET", "requirepass"),
        ("LPUSH", "ava.other", "x"),
        ("SUBSCRIBE", "/0.celery.pidbox"),
        ("ACL", "LIST"),
    ],
)
def test_the_api_may_only_publish_on_redis(redis_server: Server, command: tuple[str, ...]) -> None:
    _create_on_redis(redis_server.url)
    with (
        redis.Redis.from_url(_as("ava_api", redis_server.url)) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.execute_command(*command)


def test_the_api_may_only_publish_on_rabbitmq(rabbitmq_server: RabbitMQ, rabbitmq_url: str, tmp_path: Path) -> None:
    _create_on_rabbitmq(rabbitmq_server, rabbitmq_url.rpartition("/")[2], tmp_path)
    with Connection(_as("ava_api", rabbitmq_url)) as connection:
        queue = make_queue("default")
        queue(connection.channel()).declare()
        connection.Producer().publish("", exchange="", routing_key="default")
        channel_errors = connection.channel_errors
        with pytest.raises(channel_errors, match="ACCESS_REFUSED"):
            queue(connection.channel()).get()
        with pytest.raises(channel_errors, match="ACCESS_REFUSED"):
            queue(connection.channel()).purge()
        with pytest.raises(channel_errors, match="ACCESS_REFUSED"):
            make_queue("ava.other")(connection.channel()).declare()
