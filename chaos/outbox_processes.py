"""An application with an outbox and its relay, as processes with the application's own database."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import psycopg2

from chaos.cluster import Cluster
from harness.system import HEADERS, ROOT, SECRET

_DATABASE = "application"


def create_database(cluster: Cluster) -> str:
    """Create a database for the application. Returns its URL."""
    connection = psycopg2.connect(cluster.postgres.url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {_DATABASE}")
    connection.close()
    return urlsplit(cluster.postgres.url)._replace(scheme="postgresql+psycopg2", path=f"/{_DATABASE}").geturl()


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of a statement in the application's database."""
    connection = psycopg2.connect(url.replace("+psycopg2", "", 1))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()


def start_application(url: str, worker_id: str) -> subprocess.Popen[str]:
    """Start the application, whose orders trigger jobs of a worker, and wait until its tables exist."""
    command = (sys.executable, "-m", "chaos.outbox_application", url, worker_id)
    application = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    ask(application, 0)
    await_tries(application)
    return application


def ask(application: subprocess.Popen[str], tries: int) -> None:
    """Ask the application for more attempts."""
    assert application.stdin
    application.stdin.write(f"{tries}\n")
    application.stdin.flush()


def await_tries(application: subprocess.Popen[str]) -> None:
    """Wait until the application has made the attempts of one `ask`."""
    assert application.stdout
    application.stdout.readline()


def start_relay(cluster: Cluster, url: str) -> subprocess.Popen[str]:
    """Start a relay that sends the rows of the outbox to the cluster's API."""
    environ = {
        "AVA_URL": cluster.system.url,
        "AVA_INTERNAL_SECRET": SECRET,
        "AVA_TENANT_ID": HEADERS["x-tenant-id"],
        "AVA_OUTBOX_DATABASE_URL": url,
    }
    command = (sys.executable, "-m", "ava.cli.main", "start", "outbox")
    log = (cluster.effects_path.parent / "relay.log").open("a")
    with log:
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | environ, text=True, stdout=log, stderr=log)
