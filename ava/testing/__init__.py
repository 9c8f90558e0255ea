"""Test handlers: `run` calls one without servers. `ava.testing.plugin` is a pytest plugin."""

from ava.testing.run import Result, run

__all__ = ["Result", "run"]
