"""No servers, no processes."""
