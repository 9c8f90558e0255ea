"""A node's child process: one run at a time, its log, and the process state around it."""
