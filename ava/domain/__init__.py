"""Pure rules: no I/O, clock or randomness."""
