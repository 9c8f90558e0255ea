"""Health: what readiness means, and the port of the processes that serve no other HTTP."""
