"""The options and arguments of commands: ids, a job's input, the installation to call."""
