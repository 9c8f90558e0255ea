"""The output of commands: records as tables or JSON, and lists and jobs that are watched."""
