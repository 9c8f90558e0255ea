"""What happens inside a worker node: the one task, its signals, logs, cancelling and heartbeat."""
