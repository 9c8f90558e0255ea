"""The `ava` command: one module per group of commands, each imported when its command runs."""
