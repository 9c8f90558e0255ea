"""The guarded HTTP client, for webhooks and for handlers that call URLs chosen by a client."""
