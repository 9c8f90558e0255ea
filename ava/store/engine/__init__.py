"""How the database is reached: engine, prepared statements, time-outs, schema, clock, leadership."""
