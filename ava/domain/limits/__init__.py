"""Named limits, rates, and the fair queue."""
