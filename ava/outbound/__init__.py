"""The guarded HTTP client: for webhooks, and for handlers that call URLs which a client chose."""
