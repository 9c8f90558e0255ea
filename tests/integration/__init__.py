"""Against real PostgreSQL, Redis and RabbitMQ."""
