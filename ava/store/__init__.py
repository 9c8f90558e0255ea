"""The only room that knows SQLAlchemy and SQL: one function per move of a row."""
