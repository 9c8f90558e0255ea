"""Process-level functions: startup, and hiding secrets from handlers that run in the process."""
