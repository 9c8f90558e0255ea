"""The `ava` command: one module per command group; commands import their implementation only when they run."""
