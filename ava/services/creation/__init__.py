"""Create jobs, for triggers, events, schedules and handlers."""
