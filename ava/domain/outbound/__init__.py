"""Which addresses and URLs on other hosts may be called."""
