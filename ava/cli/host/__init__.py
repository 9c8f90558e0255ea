"""Commands that run on a machine of the installation: processes, the database, the broker, a project of handlers."""
