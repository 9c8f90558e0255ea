"""Telemetry of the processes: log lines on stderr, and traces."""
