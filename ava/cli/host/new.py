"""`ava new`: a project with a handler and its tests."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--typescript", is_flag=True, help="A worker in TypeScript, which claims its runs over HTTP.")
def new(folder: Path, *, typescript: bool) -> None:
    """Create a project with a handler, its tests and a Dockerfile in FOLDER."""
    from ava.local import project

    files = project.create(folder, is_typescript=typescript)
    for file in files:
        click.echo(f"{folder / file}")
    if typescript:
        click.echo(
            f"\nNext: `make typescript` in AVA Jobs' own folder, then"
            f"\ncd {folder} && npm install …/clients/typescript/ava-jobs-*.tgz && npm run build"
            "\nREADME.md says how it gets its key"
        )
        return
    click.echo(f"\nNext: cd {folder} && ava dev {files[0]}\nIts tests: pip install -e '.[dev]' && pytest")
