"""Who calls: the shared key and its headers, an API key, or a session; and whether that still holds."""
