"""The `ava` command: one module per group of commands, each of which imports its work when it runs."""
