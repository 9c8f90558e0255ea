"""Access to PostgreSQL: connections, prepared statements, time-outs, schema, clock, leader lock."""
