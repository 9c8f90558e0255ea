"""Access to PostgreSQL: connections, prepared statements, timeouts, schema, clock, leader lease."""
