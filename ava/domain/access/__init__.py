"""Who calls: API keys, sessions, callers, the form of tokens."""
