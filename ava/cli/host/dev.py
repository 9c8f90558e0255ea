"""For the author of handlers: `ava new` creates a project, `ava dev` runs its handlers on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ava.local.handler_files import HandlerFiles, LoadedHandlers
    from ava.local.system import System

#: Seconds between two polls of the files.
_POLL_SECONDS = 0.5
#: Seconds that a new node gets to start before a further change replaces it.
_START_SECONDS = 10.0


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--typescript", is_flag=True, help="A worker in TypeScript, which claims its runs over HTTP.")
def new(folder: Path, *, typescript: bool) -> None:
    """Create a project with a handler, its tests and a Dockerfile in FOLDER.

    \b
    ava new my-project
    """
    from ava.local import project

    files = project.create(folder, is_typescript=typescript)
    for file in files:
        click.echo(f"{folder / file}")
    if typescript:
        click.echo(
            f"\nNext: run `make typescript` in the AVA Jobs repository, then\ncd {folder} && npm install "
            "…/clients/typescript/ava-jobs-*.tgz && npm run build\nREADME.md explains how it gets its key"
        )
        return
    click.echo(f"\nNext: cd {folder} && ava dev {files[0]}\nIts tests: pip install -e '.[dev]' && pytest")


@click.command()
@click.argument("target")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="The API's port.")
@click.option(
    "--data-dir", default=".ava", show_default=True, type=click.Path(path_type=Path), help="The data directory."
)
@click.option("--concurrency", type=click.IntRange(1, 1000), help="Max concurrent jobs.  [default: one per CPU]")
def dev(target: str, port: int, data_dir: Path, concurrency: int | None) -> None:
    """Run the handlers of TARGET, a Python file or a module, on this machine; Ctrl-C stops it.

    It prints each line that a job logs. When a Python file changes that the handlers import, or that is below their
    folder, a new node with the changed handlers starts, and the old node finishes its running jobs.

    \b
    ava dev my_project.py
    """
    import json
    import os

    from ava.cli.api.dashboard import print_ready
    from ava.errors import StopRequested
    from ava.local import example, handler_files, handler_folder
    from ava.local.system import start_system

    files = handler_files.find(target)
    os.environ.update({"AVA_HANDLERS": files.module, "AVA_PRINT_JOB_LOGS": "true"})
    os.environ[handler_folder.VARIABLE] = str(files.folder)
    loaded = files.load(os.environ)
    # Read the times before the node imports the files, so that a change during the import is noticed.
    known = files.timestamps(loaded.files)
    worker_id, schema = next(iter(loaded.schemas.items()))
    job = {"worker_id": worker_id, "input": example.input_of(json.loads(schema or "{}"))}
    try:
        with start_system(data_dir, host="127.0.0.1", port=port, concurrency=concurrency, write=click.echo) as system:
            print_ready(system)
            click.echo(f"Try it:\n\n{example.curl(system.url, system.secret, job)}\n")
            _run(system, files, loaded, known)
            click.echo("\nava: stopping; press Ctrl-C again to kill all processes immediately")
    except StopRequested:
        click.echo("\nava: stopped before all processes were ready")


def _run(system: System, files: HandlerFiles, loaded: LoadedHandlers, known: dict[str, int]) -> None:
    """Keep the system running, and replace the node when a file changes, until a stop is requested."""
    import os
    import time
    from contextlib import suppress

    from ava.errors import HandlerError, StopRequested

    poll_at = time.monotonic()
    # Until when a new node is starting; None if the node runs.
    starting_until: float | None = None
    with suppress(StopRequested):
        while True:
            system.supervisor.step(_POLL_SECONDS)
            if starting_until is not None and system.node_ready.is_ready():
                starting_until = None
                click.echo(f"ava: the new node runs {', '.join(loaded.worker_ids)}")
            # A node that is replaced while it starts would report that it is ready in place of the next one.
            if time.monotonic() < max(poll_at, starting_until or 0):
                continue
            poll_at = time.monotonic() + _POLL_SECONDS
            if (now := files.timestamps(loaded.files)) == known:
                continue
            changed = sorted(path for path in {*now, *known} if now.get(path) != known.get(path))
            try:
                loaded = files.load(os.environ)
            except HandlerError as problem:
                # A node that is still starting imports the changed files too, and its predecessor takes no more jobs.
                effect = "keeping the running handlers" if starting_until is None else "the new node may not start"
                click.echo(f"ava: {effect}, because {problem}")
                known = now
            else:
                click.echo(f"ava: {os.path.relpath(changed[0])} changed; starting a new node")
                system.replace_node()
                starting_until = time.monotonic() + _START_SECONDS
                # A file that is watched from now on has not changed.
                known = {path: now.get(path, timestamp) for path, timestamp in files.timestamps(loaded.files).items()}
