"""Which servers are refused, by what their `version()` returns."""

from __future__ import annotations

import pytest

from ava.store.engine.server_version import refusal_of


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("CockroachDB CCL v24.2.4 (x86_64-pc-linux-gnu, built 2024/10/14 17:20:56, go1.22.5)", "CockroachDB"),
        ("PostgreSQL 11.2-YB-2.20.1.3-b0 on x86_64-pc-linux-gnu, compiled by clang version 16.0.6", "YugabyteDB"),
        ("PostgreSQL 15.12-YB-2026.1.1.2-b9 on aarch64", "YugabyteDB"),
        ("PostgreSQL 9.4.26 (Greenplum Database 6.25.3 build commit:abc) on x86_64-pc-linux-gnu", "Greenplum"),
        ("PostgreSQL 14.4 (Apache Cloudberry 2.0.0-incubating build 1) on aarch64-unknown-linux-gnu", "Cloudberry"),
        (
            "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2 20041017 (Red Hat 3.4.2-6.fc3), "
            "Redshift 1.0.77467",
            "Amazon Redshift",
        ),
        ("PostgreSQL 9.2.4 (openGauss 2.0.0 build 78689da9) compiled at 2021-03-31 21:04:03 commit 0", "openGauss"),
        ("PostgreSQL 16.3 compatible CedarDB v2025-08-20", "CedarDB"),
        ("PostgreSQL 13.14.0-RisingWave-2.3.2 (58c5893670f326f0922b9bc58c61c83cabeccaa8)", "RisingWave"),
        ("PostgreSQL 12.3, compiled by Visual C++ build 1914, 64-bit, QuestDB", "QuestDB"),
        ("Cloud Spanner PostgreSQL interface", "Cloud Spanner PostgreSQL interface"),
        ("A server\nwhose text\nhas lines" + "x" * 10_000, "A server whose text has linesxxxxxxxxxxx,"),
        ("PostgreSQL 14.11 (Debian 14.11-1.pgdg120+2) on x86_64-pc-linux-gnu", "PostgreSQL 14.11, which is too old"),
    ],
)
def test_other_servers_and_old_ones_are_refused_by_name_in_one_line(version: str, name: str) -> None:
    refusal = refusal_of(version)
    assert refusal
    assert f"the server is {name}" in refusal or f"the server is Apache {name}" in refusal
    assert refusal.endswith("use PostgreSQL 15 or newer.")
    assert len(refusal) < 140
    assert "\n" not in refusal


@pytest.mark.parametrize(
    "version",
    [
        "PostgreSQL 15.13 (Debian 15.13-0+deb12u1) on x86_64-pc-linux-gnu, compiled by gcc (Debian 12.2.0-14) 12.2.0",
        "PostgreSQL 16.4 on aarch64-unknown-linux-gnu, compiled by aarch64-unknown-linux-gnu-gcc (GCC) 9.5.0, 64-bit",
        "PostgreSQL 15.4 (EnterpriseDB Advanced Server 15.4.0) on x86_64-pc-linux-gnu",
        "PostgreSQL 18.4 (pgEdge 5.0.10) on x86_64-pc-linux-gnu, compiled by gcc (GCC) 14.3.1 20251022, 64-bit",
        "PostgreSQL 19beta1 on x86_64-pc-linux-gnu",
        "PostgreSQL 17devel on x86_64-pc-linux-gnu",
    ],
)
def test_postgresql_from_the_oldest_tested_version_on_is_taken(version: str) -> None:
    assert refusal_of(version) is None
