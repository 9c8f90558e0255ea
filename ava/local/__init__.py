"""Everything on one machine: `ava up`, its processes, and the embedded PostgreSQL and Redis."""
