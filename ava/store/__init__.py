"""The database. Only this package uses SQLAlchemy and SQL, with one function per state transition or read."""
