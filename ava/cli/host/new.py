"""`ava new`: a project with a handler and its tests."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["new"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def new(folder: Path) -> None:
    """Create a project with a handler, its tests and a Dockerfile in FOLDER."""
    from ava.local import project

    files = project.create(folder)
    for file in files:
        click.echo(f"{folder / file}")
    click.echo(f"\nNext: cd {folder} && ava dev {files[0]}\nIts tests: pip install -e '.[dev]' && pytest")
