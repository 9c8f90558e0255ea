"""What the processes say of themselves: log lines on stderr, and traces."""
