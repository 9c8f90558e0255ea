"""The database. Only this package uses SQLAlchemy and SQL; it has one function for each move or read of a row."""
