"""The creation of jobs, shared by triggers, events, schedules and handlers."""
