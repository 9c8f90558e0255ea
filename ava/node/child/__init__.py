"""In a node's child process: one run at a time, its log, and what the process is like around it."""
