"""For tests of handlers: `run` calls one without servers. `ava.testing.plugin` is a plugin of pytest."""

from ava.testing.run import Result, run

__all__ = ["Result", "run"]
