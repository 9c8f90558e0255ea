"""Celery's own examples and django-ca, unmodified except for one line: the same results on Celery and on AVA Jobs.

`make test` runs those that differ most, with canvases, stamps and Django, and `make test-long` the others.
`CELERY_TABLE=1` prints the results of both sides as rows of a table.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import HEADERS, ROOT, SECRET, System
from tests.acceptance.celery_suite import sources
from tests.acceptance.conftest import on_redis

#: The last Django that runs on each Python of the tests.
_DJANGO = "django==5.2.*"
#: The line that moves a project.
LINE = "import ava_celery; ava_celery.install(app)"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A project: where its application is, and calls with their results."""

    app: str
    #: The file that gets the line.
    file: str
    #: Statements before the calls.
    imports: str
    #: Expressions, and what their results' `get` returns.
    calls: Mapping[str, Any]
    #: Expressions after these results, and their values.
    after: Mapping[str, Any] = field(default_factory=dict)
    #: Commands of a Django project before the calls: arguments of Python.
    commands: Sequence[Sequence[str]] = ()
    #: The source distribution that contains it, and the folder there; by default an example of Celery's.
    source: str = ""
    folder: str = ""
    #: What pip installs for it.
    needs: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


# A certificate authority: `init_ca` calls two tasks, whose effects the first call awaits. `generate_crls` calls another
# task for each authority.
_DJANGO_CA = """
import time; import django; django.setup()
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth.models import User
from django_ca.celery.messages import *
from django_ca.models import *
from django_ca.tasks import *

def has(certificates, crls):
    until = time.monotonic() + 60
    while (Certificate.objects.count(), CertificateRevocationList.objects.count()) != (certificates, crls):
        assert time.monotonic() < until
        time.sleep(0.05)
    return True

ca = CertificateAuthority.objects.get()
assert has(1, 2)
order = CertificateOrder.objects.create(certificate_authority=ca, user=User.objects.create_user("owner"))
request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
csr = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
subject = [{"oid": "2.5.4.3", "value": "example.com"}]
authority = UseCertificateAuthorityTaskArgs(serial=ca.serial, force=True)
authorities = UseCertificateAuthoritiesTaskArgs(force=True)
to_sign = ApiSignCertificateTaskArgs(order_pk=order.pk, csr=csr, subject=subject)
missing = UseCertificateAuthorityTaskArgs(serial="AB")
"""

EXAMPLES = {
    "next-steps": Example(
        app="proj.celery:app",
        file="proj/celery.py",
        imports="from proj.tasks import add, mul, xsum; from celery import chord",
        calls={
            "add.delay(2, 2)": 4,
            "add.apply_async((2, 2), countdown=1)": 4,
            "(add.s(4, 4) | mul.s(8))()": 64,
            "chord(add.s(i, i) for i in range(10))(xsum.s())": 90,
        },
    ),
    "tutorial": Example(
        app="tasks:app", file="tasks.py", imports="from tasks import add", calls={"add.delay(4, 4)": 8}
    ),
    "periodic-tasks": Example(
        app="myapp:app", file="myapp.py", imports="from myapp import say", calls={"say.delay('hello')": None}
    ),
    "pydantic": Example(
        app="tasks:app",
        file="tasks.py",
        imports="from tasks import x",
        calls={"x.delay({'value': 1})": {"value": "example: 1"}},
    ),
    "stamping": Example(
        app="myapp:app",
        file="config.py",
        imports="from tasks import identity, identity_task; from visitors import MonitoringIdStampingVisitor\n"
        "from revoke_example import create_canvas\n"
        "canvas = create_canvas(n=3); canvas.stamp(MonitoringIdStampingVisitor())",
        calls={"canvas.delay()": 180, "identity_task.delay('x')": "x", "identity.delay('sig1')": "sig1"},
    ),
    "django": Example(
        app="proj.celery:app",
        file="proj/celery.py",
        imports="import django; django.setup(); from demoapp.models import Widget\nfrom demoapp.tasks import *",
        commands=(("manage.py", "migrate", "-v0"),),
        needs=(_DJANGO,),
        calls={
            "add.delay(2, 2)": 4,
            "(mul.s(2, 3) | add.s(4))()": 10,
            "xsum.delay([1, 2, 3])": 6,
            "rename_widget.delay(Widget.objects.create(name='old').id, 'new')": None,
        },
        after={"Widget.objects.get().name": "new", "count_widgets.delay().get(timeout=60)": 1},
    ),
    "django-ca": Example(
        source="django-ca==3.2.0",
        folder="ca",
        needs=(_DJANGO, "django-ca==3.2.0"),
        environ={"DJANGO_CA_SECRET_KEY": "of-the-tests"},
        app="ca.celery:app",
        file="ca/celery.py",
        imports=_DJANGO_CA,
        commands=(("manage.py", "migrate", "-v0"), ("manage.py", "init_ca", "--key-type", "EC", "root", "CN=root")),
        calls={
            "generate_crl.delay(authority)": None,
            "generate_ocsp_key.delay(authority)": 2,
            "generate_crls.delay(authorities)": None,
            "api_sign_certificate.delay(to_sign)": 3,
            "notify_watchers.delay()": None,
            "acme_cleanup.delay()": None,
        },
        after={
            "has(3, 6)": True,
            "CertificateOrder.objects.get().status": "issued",
            "repr(generate_crl.delay(missing).get(timeout=60, propagate=False))": (
                "DoesNotExist('CertificateAuthority matching query does not exist.')"
            ),
        },
    ),
}


#: Those of `make test`.
_BRIEF = ("next-steps", "stamping", "django")
_LONG = pytest.mark.long(
    kept_by="tests/acceptance/test_celery_examples.py::test_an_example_has_the_same_results_on_celery_and_on_ava"
)


def _run(folder: Path, environ: Mapping[str, str], *arguments: str) -> str:
    """Runs Python in a project's folder. Returns its output."""
    command = (sys.executable, *arguments)
    done = subprocess.run(
        command, cwd=folder, env=dict(environ), capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _results(example: Example, folder: Path, environ: Mapping[str, str], settings: Mapping[str, str]) -> Any:
    """Makes the calls in a process of the project. Returns the results by call."""
    for command in example.commands:
        _run(folder, environ, *command)
    module, _, name = example.app.partition(":")
    code = (
        f"import json; from {module} import {name} as app; app.conf.update({dict(settings)!r})\n{example.imports}\n"
        f"found = {{text: eval(text).get(timeout=60) for text in {list(example.calls)!r}}}\n"
        f"print(json.dumps(found | {{text: eval(text) for text in {list(example.after)!r}}}))"
    )
    return json.loads(_run(folder, environ, "-c", code).splitlines()[-1])


@contextmanager
def _celery_worker(example: Example, folder: Path, url: str, environ: Mapping[str, str]) -> Iterator[None]:
    app = example.app.partition(":")[0]
    command = (sys.executable, "-m", "celery", "-A", app, "-b", url, "--result-backend", url, "worker", "-c", "1")
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=folder, env=dict(environ), stdout=log, stderr=log)
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(30)


@on_redis
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in _BRIEF else _LONG) for name in EXAMPLES])
def test_an_example_has_the_same_results_on_celery_and_on_ava(
    name: str, nodes: System, redis_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example, url = EXAMPLES[name], fresh_redis_url(redis_server)
    # The result backend of an example is a file in the node's current folder.
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    source = sources.unpacked(example.source) / (example.folder or f"examples/{name}")
    plain, moved = tmp_path / "celery", tmp_path / "ava"
    shutil.copytree(source, plain)
    shutil.copytree(source, moved)
    libraries = str(sources.installed(name, example.needs)) if example.needs else ""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join((libraries, str(ROOT)))} | example.environ
    settings = {"broker_url": url, "result_backend": url}
    with _celery_worker(example, plain, url, environ):
        on_celery = _results(example, plain, environ | {"CELERY_BROKER_URL": url}, settings)
    with (moved / example.file).open("a") as file:
        file.write(f"\n{LINE}\n")
    caller = {"AVA_TENANT_ID": str(nodes.session.headers["x-tenant-id"]), "AVA_USER_ID": HEADERS["x-user-id"]}
    caller |= {"AVA_URL": nodes.url, "AVA_INTERNAL_SECRET": SECRET}
    # A node's processes do not see the internal secret, and tasks call others.
    key = nodes.post("/v1/ava/keys", json={"name": "project", "role": "tenant-system-admin"}).json()["data"]
    node = {"AVA_CELERY_APPS": example.app, "AVA_HANDLERS": "workers", "AVA_HANDLER_FOLDER": str(moved)}
    node |= {"PYTHONPATH": environ["PYTHONPATH"], "AVA_URL": nodes.url, "AVA_API_KEY": key["token"], **example.environ}
    # One process, because SQLite lets only one write.
    nodes.start_nodes(concurrency=1, environ=node)
    on_ava = _results(example, moved, environ | caller, {})
    if os.environ.get("CELERY_TABLE"):
        for call, found in on_celery.items():
            sys.stdout.write(f"| {name} | `{call}` | `{found}` | `{on_ava[call]}` |\n")
    assert on_celery == on_ava == {**example.calls, **example.after}
