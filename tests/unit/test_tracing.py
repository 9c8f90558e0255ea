"""Tracing that is off or cannot work: nothing is imported, and one line says why."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ava import settings as settings_module
from ava.settings import Settings

URLS = {"DATABASE_URL": "postgresql://127.0.0.1/ava", "BROKER_URL": "redis://127.0.0.1/0"}
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}

_WITHOUT_IT = """
import logging, sys
sys.modules["opentelemetry"] = None
logging.basicConfig(format="%(message)s")
from ava import settings
from ava.telemetry import tracing
loaded = settings.load()
tracing.warn_if_unusable(loaded)
tracing.preload(loaded)
tracing.start(loaded, "worker")
with tracing.start_span("anything", parent=None) as span:
    span.set_attribute("name", 1)
    span.record_failure("so")
assert not tracing.is_on() and span.traceparent is tracing.current() is None
tracing.stop()
"""
_UNWANTED = """
import sys
import ava.app, ava.api.app, ava.dispatcher.dispatcher_process, ava.delivery.sender, ava.node.child.child
from ava import settings
from ava.telemetry import tracing
tracing.start(settings.load(), "api")
assert not [name for name in sys.modules if name.startswith(("opentelemetry", "alembic"))]
"""


def _load(**environ: str) -> Settings:
    return settings_module.load({**URLS, **environ})


@pytest.mark.parametrize(
    ("environ", "traces"),
    [
        ({}, ""),
        (ENDPOINT, "http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, "http/protobuf"),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, ""),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc"),
    ],
)
def test_opentelemetrys_own_settings_say_whether_there_are_traces(environ: dict[str, str], traces: str) -> None:
    assert _load(**environ).traces == traces


def _run(code: str, **environ: str) -> str:
    environ = {**URLS, "PATH": "/usr/bin:/bin", **environ}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_process_imports_neither_alembic_nor_opentelemetry_without_a_collector() -> None:
    assert _run(_UNWANTED) == ""


def test_without_the_extra_one_line_says_what_to_install() -> None:
    (line,) = _run(_WITHOUT_IT, **ENDPOINT).splitlines()
    assert "pip install 'ava-jobs[otel]'" in line


def test_another_protocol_is_refused_in_one_line() -> None:
    (line,) = _run(_WITHOUT_IT, **ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL="grpc").splitlines()
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is not http/protobuf" in line
