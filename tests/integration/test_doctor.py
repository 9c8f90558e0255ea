"""`ava doctor`: each check says what it found; what is wrong comes with its cure, and exit code 1."""

from __future__ import annotations

import pytest

from tests.system import System


def _doctor(system: System, **environ: str) -> tuple[int, dict[str, str]]:
    """The exit code, and each check's line by its name."""
    process = system.spawn("doctor", environ=environ)
    exit_code = process.wait(30)
    lines = process.output.splitlines()
    assert all(line.startswith(("ok  ", "!!  ")) for line in lines), process.output
    return exit_code, {line[4:].split(":")[0]: line for line in lines}


def test_a_healthy_system_passes(system: System) -> None:
    exit_code, lines = _doctor(system)
    assert exit_code == 0
    assert list(lines) == ["settings", "secret", "database", "clock", "broker", "handlers"]
    assert all(line.startswith("ok") for line in lines.values())


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_database_that_is_behind_or_ahead_is_told_apart(system: System) -> None:
    for revision, words in (("r9999", "newer than this code"), (None, "ava db upgrade")):
        if revision:
            system.query("UPDATE alembic_version SET version_num = %s", revision)
        else:
            system.query("DELETE FROM alembic_version")
        exit_code, lines = _doctor(system)
        assert exit_code == 1
        assert lines["database"].startswith("!!")
        assert words in lines["database"]


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_everything_that_is_wrong_is_said_in_one_go(system: System) -> None:
    exit_code, lines = _doctor(
        system,
        DATABASE_URL="postgresql://127.0.0.1:1/ava",
        BROKER_URL="amqp://127.0.0.1:1//",
        AVA_INTERNAL_SECRET="",
        AVA_WORKERS="no_such_module",
    )
    assert exit_code == 1
    wrong = [name for name, line in lines.items() if line.startswith("!!")]
    assert wrong == ["secret", "database", "clock", "broker", "handlers"]
    assert "AVA_INTERNAL_SECRET" in lines["secret"]
    assert "no_such_module" in lines["handlers"]
