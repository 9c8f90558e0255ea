"""A node's child process: one run at a time, its log, and the state of the process around it."""
