"""Health: the readiness checks, and the HTTP port of the processes that serve no other HTTP."""
