"""Identify a request's caller (shared key with headers, API key, or session), and check the credential again."""
