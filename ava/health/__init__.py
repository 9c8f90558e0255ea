"""Health: readiness checks, and the health port of processes that serve no other HTTP."""
